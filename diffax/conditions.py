"""Named conditions: what a network is told beside x_t, such as a class, a vector or a sequence of vectors.

A network declares the conditions it takes, by their names and kinds:

    {"label": Classes(10), "text": Vector(384), "tokens": Tokens(384)}

and gets their values for a batch under the same names. A value that is missing is null. Classifier-free guidance
(arXiv:2207.12598) trains with values that are null now and then, and samples with both.
"""

import dataclasses
import functools
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key


class TokenSequence(NamedTuple):
    """Sequences of vectors (batch, length, size), padded; mask (batch, length) is True where there is one."""

    vectors: Any
    mask: Any


# Values of conditions by name; every array has a batch axis. None: all are null.
Conditions = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Classes:
    """One of `num` classes: integers (batch,) in [0, num]; num is the null value."""

    num: int

    def null(self, batch: int) -> Any:
        """The null value of a batch."""
        return np.full((batch,), self.num, np.int32)

    def misfit(self, value: Any, batch: int) -> str | None:
        """What was expected of a value of a batch, where it is not; else None."""
        is_integer = jnp.issubdtype(getattr(value, "dtype", np.dtype(object)), jnp.integer)
        return None if is_integer and value.shape == (batch,) else f"integers of shape ({batch},)"


@dataclasses.dataclass(frozen=True)
class Vector:
    """A vector: floats (batch, size); zero is the null value."""

    size: int

    def null(self, batch: int) -> Any:
        """The null value of a batch."""
        return np.zeros((batch, self.size), np.float32)

    def misfit(self, value: Any, batch: int) -> str | None:
        """What was expected of a value of a batch, where it is not; else None."""
        fits = _is_float(value) and value.shape == (batch, self.size)
        return None if fits else f"floats of shape ({batch}, {self.size})"


@dataclasses.dataclass(frozen=True)
class Tokens:
    """A sequence of vectors: a TokenSequence of vectors of `size`; a sequence without any is the null value.

    Networks attend to it. It has no order beyond what its vectors say.
    """

    size: int

    def null(self, batch: int) -> Any:
        """The null value of a batch, of length 1."""
        return TokenSequence(np.zeros((batch, 1, self.size), np.float32), np.zeros((batch, 1), bool))

    def misfit(self, value: Any, batch: int) -> str | None:
        """What was expected of a value of a batch, where it is not; else None."""
        expected = f"a TokenSequence of floats ({batch}, length, {self.size}) and a boolean mask ({batch}, length)"
        if not isinstance(value, TokenSequence) or not _is_float(value.vectors) or value.vectors.ndim != 3:
            return expected
        length, is_mask = value.vectors.shape[1], jnp.issubdtype(value.mask.dtype, jnp.bool_)
        fits = value.vectors.shape == (batch, length, self.size) and value.mask.shape == (batch, length) and is_mask
        return None if fits else expected


@dataclasses.dataclass(frozen=True)
class Number:
    """A number, embedded as times are: floats (batch,); 0 is the null value.

    scale: what it is multiplied by before its sinusoidal features, whose angular frequencies are 1 and below. The
      network's derivative in the number grows with it, and losses of flow maps are made of derivatives: with 1, the
      time span of MeanFlow's authors (arXiv:2505.13447), it is smooth.
    """

    scale: float = 1.0

    def null(self, batch: int) -> Any:
        """The null value of a batch."""
        return np.zeros((batch,), np.float32)

    def misfit(self, value: Any, batch: int) -> str | None:
        """What was expected of a value of a batch, where it is not; else None."""
        return None if _is_float(value) and value.shape == (batch,) else f"floats of shape ({batch},)"


Kind = Classes | Vector | Tokens | Number
Kinds = Mapping[str, Kind]
_KINDS: dict[str, Any] = {"classes": Classes, "vector": Vector, "tokens": Tokens, "number": Number}
# The name of the condition that makes a network one of two times: the Number t - s. At its null value, 0, the network
# is one of the time t alone.
SPAN = "span"
# The conditions that tell a network its guidance, see `guidance`. Without guidance all are 0, their null value.
GUIDANCE: dict[str, Kind] = {name: Number() for name in ("guidance_scale", "guidance_low", "guidance_high")}


def guidance(scale: Any, low: Any, high: Any) -> Conditions:
    """The values of GUIDANCE for a guidance scale >= 1 that acts at times from low to high; all of shape (batch,).

    They are 1 - 1 / scale, low and 1 - high. Improved MeanFlow (arXiv:2512.02012) embeds the scale in this form.
    """
    return dict(zip(GUIDANCE, (1 - 1 / scale, low, 1 - high), strict=True))


def to_json(kind: Kind) -> dict[str, Any]:
    """A kind as values of JSON: {"kind": "vector", "size": 384}."""
    return {"kind": type(kind).__name__.lower(), **dataclasses.asdict(kind)}


def from_json(record: Mapping[str, Any]) -> Kind:
    """The kind that `to_json` wrote. Raises KeyError or TypeError for anything else."""
    return _KINDS[record["kind"]](**{key: value for key, value in record.items() if key != "kind"})


def class_condition(kinds: Kinds) -> str | None:
    """The name of the condition that is a class: "label" if there is one, or the first; None without classes."""
    names = [name for name in sorted(kinds) if isinstance(kinds[name], Classes)]
    return "label" if "label" in names else names[0] if names else None


def null(conditions: Conditions | None, kinds: Kinds, names: Iterable[str] | None = None) -> Conditions | None:
    """The conditions with those of `names` replaced by their null values, or with all of them; shapes stay.

    Raises:
        ValueError: a condition that `kinds` does not have.
    """
    if conditions is None:
        return None
    check_names(conditions, kinds)
    nulled = set(conditions if names is None else names)
    return {name: _null_like(kinds[name], value) if name in nulled else value for name, value in conditions.items()}


def are_null(conditions: Conditions, kinds: Kinds, names: Iterable[str]) -> Bool[Array, " batch"]:
    """Which samples have the null value in each of the conditions of these names."""
    nulled = null({name: conditions[name] for name in names}, kinds) or {}

    def equal(value: Any, other: Any) -> Any:
        return (value == other).reshape(len(value), -1).all(axis=1)

    pairs = jax.tree.map(equal, {name: conditions[name] for name in nulled}, nulled)
    everyone = jnp.ones(len(jax.tree.leaves(conditions)[0]), bool)
    return functools.reduce(jnp.logical_and, jax.tree.leaves(pairs), everyone)


def drop(
    keys: Key[Array, " batch"],
    conditions: Conditions | None,
    kinds: Kinds,
    probabilities: Mapping[str, float],
    together: float = 0.0,
) -> Conditions | None:
    """Condition dropping: nulls conditions of an example at random, by its own key (arXiv:2207.12598, algorithm 1).

    Args:
        keys: they should serve nothing else. The draw for a condition does not depend on what other ones there are.
        probabilities: by name, each drawn by itself; 0 where a condition is left out.
        together: the probability with which all conditions that may be dropped are, beside each by itself.

    Raises:
        ValueError: a probability outside [0, 1], or a condition that `kinds` does not have.
    """
    for name, probability in [*probabilities.items(), ("together", together)]:
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"the probability of dropping {name!r} must be in [0, 1], got {probability}")
    if conditions is None:
        return None
    check_names(conditions, kinds)
    all_dropped = bernoulli(keys, "", together)  # no condition has this name
    result = dict(conditions)
    for name in conditions:
        if probabilities.get(name, 0.0) > 0.0:
            dropped = all_dropped | bernoulli(keys, name, probabilities[name])
            result[name] = _where(dropped, _null_like(kinds[name], conditions[name]), conditions[name])
    return result


def complete(conditions: Conditions | None, kinds: Kinds, batch: int) -> Conditions:
    """The value of every condition of `kinds` for a batch, null where it is missing.

    Raises:
        ValueError: a condition that `kinds` does not have, or a value of another shape or type.
    """
    conditions = conditions or {}
    check_names(conditions, kinds)
    for name, value in conditions.items():
        expected = kinds[name].misfit(value, batch)
        if expected is not None:
            raise ValueError(f"the condition {name!r} must be {expected}, got {_described(value)}")
    return {name: conditions[name] if name in conditions else kind.null(batch) for name, kind in kinds.items()}


def check_names(names: Iterable[str], kinds: Kinds) -> None:
    """Raises ValueError for a condition that `kinds` does not have."""
    unknown = sorted(set(names) - set(kinds))
    if unknown:
        has = f"takes {', '.join(sorted(kinds))}" if kinds else "takes no conditions"
        raise ValueError(f"there is no condition {unknown[0]!r}: the network {has}")


def check_values(conditions: Conditions, kinds: Kinds) -> None:
    """Raises ValueError for NumPy values that are not finite or, of classes, out of range; naming the first."""
    for name, value in conditions.items():
        kind = kinds[name]
        if isinstance(kind, Classes):
            outside = np.flatnonzero((value < 0) | (value > kind.num))
            what = f"in 0..{kind.num} ({kind.num} is null)"
        else:
            vectors = np.asarray(value.vectors if isinstance(value, TokenSequence) else value)
            outside = np.flatnonzero(~np.isfinite(vectors).all(axis=tuple(range(1, vectors.ndim))))
            what = "finite"
        if len(outside):
            raise ValueError(f"the condition {name!r} must be {what}, and is not in row {outside[0]}")


def interpolated(start: Any, end: Any, num: int) -> Any:
    """`num` values of a Vector or Tokens condition on the line from one to another, both of a batch of one.

    Vectors on the sphere stay on it only nearly; of token sequences the shorter one is padded with zeros, and where
    either has a token, so has what lies between.
    """
    fractions = np.linspace(0.0, 1.0, num, dtype=np.float32)
    if not isinstance(start, TokenSequence):
        return (1 - fractions)[:, None] * start + fractions[:, None] * end
    start, end = padded(start, end.mask.shape[1]), padded(end, start.mask.shape[1])
    weight = fractions[:, None, None]
    vectors = (1 - weight) * _visible(start) + weight * _visible(end)
    return TokenSequence(vectors, np.broadcast_to(start.mask | end.mask, vectors.shape[:2]))


def padded(tokens: TokenSequence, length: int) -> TokenSequence:
    """Token sequences padded to at least a length, with zeros that the mask leaves out."""
    more = max(length - tokens.mask.shape[1], 0)
    vectors = np.pad(tokens.vectors, ((0, 0), (0, more), (0, 0)))
    return TokenSequence(vectors, np.pad(tokens.mask, ((0, 0), (0, more))))


def _visible(tokens: TokenSequence) -> np.ndarray:
    return np.where(tokens.mask[..., None], tokens.vectors, 0).astype(np.float32)


def _null_like(kind: Kind, value: Any) -> Any:
    if isinstance(kind, Classes):
        return jnp.full_like(value, kind.num)
    return jax.tree.map(jnp.zeros_like, value)


def own_keys(keys: Key[Array, " batch"], name: str) -> Key[Array, " batch"]:
    """Keys for the draws of one condition, which do not depend on what other conditions there are."""
    number = zlib.crc32(name.encode()) & 0x7FFFFFFF
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)


def bernoulli(keys: Key[Array, " batch"], name: str, probability: float) -> Bool[Array, " batch"]:
    """A draw for each key that is True with this probability, and does not depend on draws of other names."""
    return jax.vmap(lambda key: jax.random.bernoulli(key, probability))(own_keys(keys, name))


def _where(chosen: jax.Array, value: Any, otherwise: Any) -> Any:
    def leaf(one: Any, other: Any) -> Any:
        return jnp.where(chosen.reshape(-1, *(1,) * (one.ndim - 1)), one, other)

    return jax.tree.map(leaf, value, otherwise)


def _is_float(value: Any) -> bool:
    return hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.floating)


def _described(value: Any) -> str:
    if isinstance(value, TokenSequence):
        return f"vectors {_described(value.vectors)} and a mask {_described(value.mask)}"
    return f"{value.dtype} of shape {value.shape}" if hasattr(value, "dtype") else repr(value)
