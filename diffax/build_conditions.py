"""What a network is told beside x_t, from config.conditions; part of build."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from diffax import choices, conditions, data
from diffax.choices import Slot
from diffax.conditions import Classes, Conditions, Kind
from diffax.data import column, conditioned
from diffax.data.conditioned import Column, Conditioned
from diffax.data.examples import Examples

# The name of the condition that tells a network how an image was augmented.
AUGMENTATION = "augmentation"
# Names of a batch that no condition of the data may have.
RESERVED = ("x", "eps", AUGMENTATION, conditions.SPAN, *conditions.GUIDANCE)
# Called with a name, how much is done, how much there is, and the unit.
Report = Callable[..., None]
_AT_ONCE = 1024  # examples that a function of the user's own is given


@dataclasses.dataclass(frozen=True)
class Label:
    """The class labels of the data."""


@dataclasses.dataclass(frozen=True)
class VectorColumn:
    """A column of vectors of the data, all of one size.

    column: its name; by default that of the condition.
    """

    column: str | None = None

    def column_of(self, name: str, examples: Examples, report: Report | None = None) -> Column:
        """The values of all examples."""
        return conditioned.of_vectors(_column(name, self.column, examples, column.VECTORS))


@dataclasses.dataclass(frozen=True)
class TokenColumn:
    """A column of sequences of vectors of the data.

    column: its name; by default that of the condition.
    max_tokens: vectors after so many are left out.
    """

    column: str | None = None
    max_tokens: int = 64

    def column_of(self, name: str, examples: Examples, report: Report | None = None) -> Column:
        """The values of all examples."""
        return conditioned.of_sequences(_column(name, self.column, examples, column.SEQUENCES), self.max_tokens)


@dataclasses.dataclass(frozen=True)
class Text:
    """Texts of the data, encoded ahead of training by a frozen encoder.

    column: the name of the column of texts.
    encoder: "my_project:encode", a folder of a sentence-transformers model, or the name of one in the cache directory.
    form: vector for one vector a text, tokens for a sequence of them.
    max_tokens: of a text, with tokens.
    """

    column: str = "caption"
    encoder: str = "all-minilm-l6-v2"
    form: str = "vector"
    max_tokens: int = 32

    def open_encoder(self) -> Any:
        """The encoder, a text.Encoder."""
        from diffax import text

        most = self.max_tokens if self.form == "tokens" else None
        return text.open_encoder(self.encoder, form=self.form, max_tokens=most)

    def encoded(self, encoder: Any, texts: Sequence[str], report: Any = None) -> Any:
        """Values of the condition by its encoder, arrays (len(texts), ...), through the cache of encoded texts."""
        from diffax import text

        values = text.encoded(encoder, list(texts), report=report)
        return np.stack(values) if self.form == "vector" else conditioned.as_tokens(values)

    def column_of(self, name: str, examples: Examples, report: Report | None = None) -> Column:
        """The values of all examples, with each wording as an alternative."""
        wordings = _column(name, self.column, examples, column.TEXTS)
        distinct = {wording: number for number, wording in enumerate(dict.fromkeys(w for row in wordings for w in row))}

        def said(done: int, total: int) -> None:
            if report is not None and total:
                report(f"{name} of {examples.name}", done, total, unit="texts")

        values = self.encoded(self.open_encoder(), list(distinct), said)
        size = values.shape[-1] if self.form == "vector" else values.vectors.shape[-1]
        kind: Kind = conditions.Vector(size) if self.form == "vector" else conditions.Tokens(size)
        return Column.of(kind, values, [[distinct[wording] for wording in row] for row in wordings])


CONDITIONS: dict[str, Callable[..., Any]] = {
    "label": Label,
    "vector": VectorColumn,
    "tokens": TokenColumn,
    "text": Text,
}
CONDITION_SLOT = Slot(CONDITIONS)
# What every condition has beside its own options: the probability of training without it, for guidance.
BESIDE = {"drop": 0.1}


def sources(config: ConfigDict) -> dict[str, Any]:
    """What gives the values of each condition of config.conditions, by name."""
    made = {}
    for name, entry in config.conditions.items():
        if not name.isidentifier() or name in RESERVED:
            raise ValueError(
                f"conditions.{name}: a condition's name must be an identifier, and none of {', '.join(RESERVED)}"
            )
        if not 0 <= entry.drop <= 1:
            raise ValueError(f"conditions.{name}.drop must be in [0, 1], got {entry.drop}")
        made[name] = choices.make(f"conditions.{name}", entry, CONDITION_SLOT)
    if not 0 <= config.model.drop_together <= 1:
        raise ValueError(f"model.drop_together must be in [0, 1], got {config.model.drop_together}")
    return made


def texts(config: ConfigDict) -> dict[str, Text]:
    """The conditions of config.conditions that are texts, by name."""
    return {name: source for name, source in sources(config).items() if isinstance(source, Text)}


def attach(
    config: ConfigDict, examples: Examples, *, report: Report | None = None, known: Mapping[str, Kind] | None = None
) -> Examples:
    """The examples with the conditions of config.conditions.

    Args:
      report: called with a name, texts encoded so far, how many there are, and unit="texts".
      known: the kinds of conditions by name, where no example has a value; those of the training split.

    Raises:
      ValueError: data without labels or without a column that a condition needs, or an encoder that is not there.
    """
    found, stored, from_label = sources(config), dict[str, Column](), list[str]()
    for name, source in found.items():
        if not isinstance(source, Label):
            stored[name] = _stored(name, source, examples, report, (known or {}).get(name))
        elif examples.num_classes is None:
            raise ValueError(f"conditions.{name} needs labels, and the data have none")
        else:
            from_label.append(name)
    return Conditioned(examples, stored, tuple(from_label)).validate() if found else examples


def kinds(config: ConfigDict, examples: Examples) -> dict[str, Kind]:
    """The kinds of all conditions that the network of a configuration is told, by name."""
    own = examples.kinds if isinstance(examples, Conditioned) else {}
    return own | ({} if config.data.augment.name != "geometric" else {AUGMENTATION: data.augment.KIND})


def encoders(config: ConfigDict) -> dict[str, dict[str, Any]]:
    """Name and version of the encoders of texts, by the name of the condition."""
    opened = {name: source.open_encoder() for name, source in texts(config).items()}
    return {name: {"name": encoder.name, "version": encoder.version} for name, encoder in opened.items()}


def dropping(config: ConfigDict, kinds: Mapping[str, Kind]) -> Callable[[jax.Array, Conditions], Conditions] | None:
    """Drops conditions for guidance, each with its own probability; how an image was augmented is always told."""
    probabilities = {name: entry.drop for name, entry in config.conditions.items() if entry.drop}
    if not probabilities:
        return None

    def drop(keys: jax.Array, values: Conditions) -> Conditions:
        return conditions.drop(keys, values, kinds, probabilities, config.model.drop_together) or {}

    return drop


def nulling(config: ConfigDict, kinds: Mapping[str, Kind]) -> Callable[[Conditions], tuple[Conditions, jax.Array]]:
    """(values) -> (values without the conditions of config.conditions, which samples (batch,) had none anyway)."""

    def null(values: Conditions) -> tuple[Conditions, jax.Array]:
        names = [name for name in values if name in config.conditions]
        return conditions.null(values, kinds, names) or {}, conditions.are_null(values, kinds, names)

    return null


class _Nothing(ValueError):
    """A column in which no example has a value."""


def _column(name: str, chosen: str | None, examples: Examples, expected: str) -> Any:
    """The content of a column of the expected kind.

    Raises:
      ValueError: there is no such column, or it is of another kind.
    """
    content = conditioned.column_of(examples, chosen or name, f"conditions.{name}.column")
    if column.missing(content).all():
        raise _Nothing(f"no example of {examples.name} has a value in the column {chosen or name!r}")
    if column.kind(content) != expected:
        raise ValueError(
            f"conditions.{name} is of {expected}, and the column {chosen or name!r} of {examples.name} holds "
            f"{column.kind(content)}"
        )
    return content


def _stored(name: str, source: Any, examples: Examples, report: Report | None, known: Kind | None) -> Column:
    try:
        if hasattr(source, "column_of"):
            return source.column_of(name, examples, report)
        return _computed(name, source, examples)
    except _Nothing as error:
        if known is None:
            raise ValueError(f"conditions.{name}: {error}") from error
        return Column.of(known, known.null(0), [[]] * len(examples))
    except ValueError as error:
        message = str(error)
        raise ValueError(message if "conditions." in message else f"conditions.{name}: {message}") from error


def _computed(name: str, function: Callable[..., Any], examples: Examples) -> Column:
    """The values that a function of raw examples gives: numbers of classes (n,), or vectors (n, size)."""
    parts = []
    for start in range(0, len(examples), _AT_ONCE):
        x = examples.batch(np.arange(start, min(start + _AT_ONCE, len(examples))))["x"]
        parts.append(np.asarray(function(x)))
        if parts[-1].ndim not in (1, 2) or len(parts[-1]) != len(x):
            raise ValueError(f"its function must give ({len(x)},) or ({len(x)}, size), got {parts[-1].shape}")
    values = np.concatenate(parts)
    if values.ndim == 1 and (values.dtype.kind not in "iub" or values.min() < 0):
        raise ValueError(f"its function must give classes 0, 1, 2, ... or vectors, got {values.dtype} numbers")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
        raise ValueError(f"its function gave what is not finite for example {row} of {examples.name}")
    if values.ndim == 2:
        return conditioned.of_vectors(values.astype(np.float32))
    num = int(values.max()) + 1
    return Column.of(Classes(num), np.arange(num, dtype=np.int32), [[int(value)] for value in values])
