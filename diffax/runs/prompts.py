"""What the flags of --mode sample ask for: prompts, negative, composed or interpolated ones, vectors of a file."""

import pathlib
from typing import Any

import jax
import numpy as np

from diffax import conditions
from diffax.conditions import Conditions, Tokens, TokenSequence
from diffax.runs import asked
from diffax.runs.asked import Asked
from diffax.runs.errors import UserError
from diffax.runs.model import Model


def wanted(model: Model, flags: Any, one_class: int | None) -> Asked | None:
    """What samples are drawn under; None where no flag asks for a condition other than classes.

    Args:
      flags: with prompt, negative, compose, interpolate, context and same_noise.
      one_class: the class of all samples, if they have one.

    Raises:
      UserError: flags that do not go together, or conditions that the model does not have.
    """
    if not flags.prompt and flags.context is None:
        _refuse_alone(flags)
        return None
    if flags.prompt and flags.context is not None:
        raise UserError("give --prompt or --context, not both")
    if flags.context is not None:
        values, negative, words = of_file(model, pathlib.Path(flags.context)), Conditions(), {"context": flags.context}
    else:
        values, negative = _of_texts(model, flags.prompt, flags.negative)
        words = {"prompts": list(flags.prompt)} | ({"negative": flags.negative} if flags.negative else {})
    others: tuple[tuple[Conditions, float], ...] = ()
    num = len(jax.tree.leaves(values)[0])
    if flags.compose is not None:
        _, *rest = scales(flags.compose, num)
        others = tuple((_row(values, i + 1), scale) for i, scale in enumerate(rest))
        values, num = _row(values, 0), 1
    if flags.interpolate is not None:
        if flags.interpolate < 2 or num != 2:
            raise UserError(f"--interpolate N needs N >= 2 and two conditions, got {flags.interpolate} and {num}")
        values = {
            name: conditions.interpolated(_row(value, 0), _row(value, 1), flags.interpolate)
            for name, value in values.items()
        }
        num = flags.interpolate
    label = model.class_condition
    if one_class is not None and label is not None:
        values = values | {label: np.full(num, one_class, np.int32)}
        others = tuple((one | {label: np.full(num, one_class, np.int32)}, scale) for one, scale in others)
    same_noise = flags.same_noise or flags.interpolate is not None
    return Asked(asked.checked(model, values), negative, others, same_noise, words)


def check_guidance(model: Model, wanted: Asked) -> None:
    """Raises ValueError where negative or composed conditions meet no guidance."""
    guidance = model.config.sampler.guidance.name
    if (wanted.negative or wanted.others) and guidance != "classifier_free":
        raise ValueError(f"--negative and --compose need --guidance_scale; sampler.guidance is {guidance!r}")


def scales(text: str, num_prompts: int) -> list[float]:
    """The scales of --compose, one for each prompt.

    Raises:
      UserError: other than numbers, or not as many as prompts.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--compose takes the prompts' guidance scales, as 2,1.5; got {text!r}") from None
    if len(found) != num_prompts or num_prompts < 2:
        raise UserError(
            f"--compose needs one scale for each of two prompts or more, got {len(found)} for {num_prompts}"
        )
    return found


def of_file(model: Model, path: pathlib.Path) -> Conditions:
    """The values of conditions in a .npz file, by their names; those of token sequences with NAME_mask beside them.

    Raises:
      UserError: no such file, or values that the model does not take.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"--context {path}: not a .npz file of arrays ({' '.join(str(error).split())})") from error
    kinds = model.network.conditions
    masks = {f"{name}_mask": name for name, kind in kinds.items() if isinstance(kind, Tokens)}
    values: dict[str, Any] = {name: array for name, array in arrays.items() if name not in masks}
    for name, kind in kinds.items():
        if isinstance(kind, Tokens) and name in values:
            vectors = np.asarray(values[name], np.float32)
            mask = arrays.get(f"{name}_mask", np.ones(vectors.shape[:2], bool))
            values[name] = TokenSequence(vectors, np.asarray(mask, bool))
    if not values:
        raise UserError(
            f"--context {path} has no arrays; the model takes {', '.join(sorted(kinds)) or 'no conditions'}"
        )
    return asked.checked(model, values)


def _of_texts(model: Model, prompts: list[str], negative: str | None) -> tuple[Conditions, Conditions]:
    """(values of the prompts, of the negative one); encoded together, so that sequences are equally long."""
    name = asked.text_condition(model)
    texts = [*prompts, *([negative] if negative else [])]
    values = asked.encoded(model, name, texts)
    of_prompts = {name: jax.tree.map(lambda leaf: leaf[: len(prompts)], values)}
    return of_prompts, {name: jax.tree.map(lambda leaf: leaf[len(prompts) :], values)} if negative else {}


def _refuse_alone(flags: Any) -> None:
    for flag in ("negative", "compose", "interpolate"):
        if getattr(flags, flag) is not None:
            raise UserError(f"--{flag} needs --prompt")


def _row(values: Any, row: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[row : row + 1], values)
