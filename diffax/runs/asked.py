"""What samples are asked for: the values of the conditions that they are drawn under, and where guidance leads from."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from diffax import build_conditions, conditions
from diffax.conditions import Classes, Conditions, Tokens, TokenSequence
from diffax.data import conditioned, dataset
from diffax.data.examples import Examples
from diffax.runs.errors import UserError, for_people
from diffax.runs.model import Model


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    """What samples are drawn under.

    values: of the conditions by name, arrays of `num` rows; sample i has row i modulo num.
    negative: values that guidance leads away from, of one row; by name.
    others: further values, of `num` rows, and the scales with which they are composed with the first.
    same_noise: whether samples i with the same i // num start from the same noise, so that only the conditions differ.
    words: the texts behind them, for people and for the record.
    """

    values: Conditions
    negative: Conditions = dataclasses.field(default_factory=dict)
    others: tuple[tuple[Conditions, float], ...] = ()
    same_noise: bool = False
    words: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def num(self) -> int:
        """How many rows there are."""
        return len(jax.tree.leaves(self.values)[0])

    def rows(self, index: np.ndarray) -> "Asked":
        """The values for the samples of these numbers, one row each."""

        def of_samples(values: Any) -> Any:
            return jax.tree.map(lambda leaf: np.asarray(leaf)[index % self.num], values)

        negative = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), len(index), axis=0), self.negative)
        others = tuple((of_samples(values), scale) for values, scale in self.others)
        return dataclasses.replace(self, values=of_samples(self.values), negative=negative, others=others)

    def noise(self, index: np.ndarray) -> np.ndarray:
        """The numbers of the noise that the samples of these numbers start from."""
        return index // self.num if self.same_noise else index

    def record(self) -> dict[str, Any]:
        """What identifies it, as values of JSON."""
        arrays = {"values": self.values, "negative": self.negative, "others": [values for values, _ in self.others]}
        content = hashlib.sha256()
        for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
            content.update(f"{jax.tree_util.keystr(path)} {np.shape(leaf)}".encode())
            content.update(np.ascontiguousarray(leaf).tobytes())
        scales = {"scales": [scale for _, scale in self.others]} if self.others else {}
        noise = {"same_noise": True} if self.same_noise else {}
        return {**self.words, "digest": content.hexdigest()[:16], **scales, **noise}


def encoded(model: Model, name: str, texts: Sequence[str]) -> Any:
    """Values of a condition of texts, by the encoder that the model was trained with; arrays (len(texts), ...).

    Raises:
      UserError: a condition that is no text, or an encoder that is not there or is another version than in training.
    """
    found = build_conditions.texts(model.config)
    if name not in found:
        raise UserError(f"--prompt needs a model that is told texts; this one is told {_told(model)}")
    with for_people():
        encoder, trained_with = found[name].open_encoder(), model.data.encoders[name]
        if encoder.version != trained_with["version"]:
            raise ValueError(
                f"the encoder {encoder.name} is version {encoder.version}, and the model was trained with "
                f"{trained_with['version']}: install that one"
            )
        return found[name].encoded(encoder, texts)


def of_word(model: Model, flag: str, word: str) -> Conditions:
    """What one word asks for, values of one row: a class by its name or number, or a text.

    Args:
      flag: what gave the word, for error messages.

    Raises:
      UserError: a class that the model does not have, or a model that is told neither classes nor texts.
    """
    label, texts = model.class_condition, build_conditions.texts(model.config)
    if label is not None and model.num_classes is not None:
        try:
            return {label: np.array([dataset.class_number(flag, word, model.num_classes, model.class_names)], np.int32)}
        except ValueError as error:
            if not texts:
                raise UserError(str(error)) from error
    if not texts:
        raise UserError(f"{flag} {word} needs a model that is told classes or texts; this one is told {_told(model)}")
    text = text_condition(model)
    return {text: encoded(model, text, [word])}


def check_null_is_learned(model: Model, flag: str) -> None:
    """Raises UserError where a condition was never null in training, so that it has to be given by a flag."""
    config = model.config
    never = [name for name in condition_names(model) if not config.conditions[name].drop]
    if never and config.model.drop_together == 0:
        raise UserError(
            f"give {flag}: this model never learned to do without {never[0]!r} (its drop was 0 in training)"
        )


def text_condition(model: Model) -> str:
    """The name of the model's one condition of texts.

    Raises:
      UserError: there is none, or more than one.
    """
    names = list(build_conditions.texts(model.config))
    if len(names) != 1:
        told = f"this one has {', '.join(names)}" if names else f"this one is told {_told(model)}"
        raise UserError(f"--prompt needs a model with one condition of texts; {told}")
    return names[0]


def checked(model: Model, values: Mapping[str, Any]) -> Conditions:
    """Values as the model takes them: NumPy arrays of equally many rows, token sequences padded to one length.

    Raises:
      UserError: a condition that the model does not have, values of another shape, or such that are not finite.
    """
    kinds, result = model.network.conditions, dict[str, Any]()
    with for_people():
        conditions.check_names(values, kinds)
        for name, value in values.items():
            kind = kinds[name]
            if isinstance(kind, Tokens) and not isinstance(value, TokenSequence):
                value = conditioned.as_tokens([np.asarray(sequence, np.float32) for sequence in value])
            elif not isinstance(kind, Tokens):
                value = np.asarray(value, np.int32 if isinstance(kind, Classes) else np.float32)
            result[name] = value
        lengths = {len(jax.tree.leaves(value)[0]) for value in result.values()}
        if len(lengths) != 1:
            raise ValueError(f"conditions must have equally many rows, got {', '.join(map(str, sorted(lengths)))}")
        conditions.complete(result, kinds, lengths.pop())
        conditions.check_values(result, kinds)
    return result


def of_labels(model: Model, labels: np.ndarray | None) -> Asked | None:
    """Samples by their class alone, one label a sample; None for a model without classes."""
    name = model.class_condition
    return None if labels is None or name is None else Asked({name: np.asarray(labels, np.int32)})


def condition_names(model: Model) -> list[str]:
    """The names of the conditions of config.conditions that the network takes."""
    return [name for name in model.network.conditions if name in model.config.conditions]


def has_more_than_classes(model: Model) -> bool:
    """Whether the network takes a condition that is no class: its values are taken from real examples."""
    return not all(isinstance(model.network.conditions[name], Classes) for name in condition_names(model))


def of_examples(model: Model, examples: Examples, num: int, *, seed: int = 0) -> Asked | None:
    """The conditions of random examples, for `num` samples; None for a model that is told classes at most.

    The examples are a function of the seed; of several wordings the first is taken.
    """
    if not has_more_than_classes(model):
        return None
    rows = np.random.default_rng(seed).integers(len(examples), size=num)
    batch = examples.batch(rows)
    values = {name: conditioned.first(batch[name]) for name in condition_names(model)}
    return Asked(checked(model, values), words={"of": f"{num} random examples of {examples.name}"})


def _told(model: Model) -> str:
    return ", ".join(sorted(model.network.conditions)) or "nothing"
