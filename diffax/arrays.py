"""The few array habits every room shares: which NumPy to use, trailing axes, means over a sample, noise per sample."""

import dataclasses
from types import ModuleType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffax.typing import Array, Keys, Numeric

_Class = TypeVar("_Class")


def register_pytree(cls: type[_Class]) -> type[_Class]:
    """Registers a dataclass as a pytree whose leaves are its fields, but for those with metadata {"static": True}.

    Used instead of jax.tree_util.register_dataclass, whose structures (jax 0.10) compare equal for different classes
    with the same number of fields. jit then finds one schedule's compiled program for another, about once in a hundred.
    Unflattening skips __init__: JAX rebuilds pytrees around anything.
    """
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    static = tuple(field.name for field in fields if field.metadata.get("static"))
    leaves = tuple(field.name for field in fields if field.name not in static)
    keys = tuple(map(jax.tree_util.GetAttrKey, leaves))

    def flatten(tree: _Class) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple(getattr(tree, name) for name in leaves), tuple(getattr(tree, name) for name in static)

    def flatten_with_keys(tree: _Class) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        children, rest = flatten(tree)
        return tuple(zip(keys, children, strict=True)), rest

    def unflatten(rest: tuple[Any, ...], children: Any) -> _Class:
        tree = object.__new__(cls)
        for name, value in zip(leaves + static, (*children, *rest), strict=True):
            object.__setattr__(tree, name, value)
        return tree

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def namespace(*values: Numeric) -> ModuleType:
    """jax.numpy if any value is a JAX array or tracer, else numpy."""
    return jnp if any(isinstance(value, jax.Array) for value in values) else np


def as_float(value: Numeric, *parameters: Numeric) -> tuple[Any, ...]:
    """(numpy or jax.numpy, value, *parameters), the numbers as floating arrays of that library and of value's dtype.

    That dtype is the array's own, and float64 (or JAX's default) for Python numbers and integers.
    """
    xp = namespace(value, *parameters)
    value = xp.asarray(value)
    if not xp.issubdtype(value.dtype, xp.floating):
        value = value.astype(float)
    return xp, value, *(xp.asarray(parameter, value.dtype) for parameter in parameters)


def expand_to(a: Numeric, x: Array) -> Array:
    """`a`, a scalar or (batch,), in x's dtype and with trailing axes of size one: it multiplies x (batch, *dims)."""
    a = namespace(a, x).asarray(a, x.dtype)
    return a if a.ndim == 0 else a.reshape(a.shape + (1,) * (x.ndim - a.ndim))


def mean_per_sample(x: Float[Array, "batch *dims"]) -> Float[Array, " batch"]:
    """The mean over every axis but the first."""
    return x.reshape(x.shape[0], -1).mean(axis=-1)


def sum_per_sample(x: Float[Array, "batch *dims"]) -> Float[Array, " batch"]:
    """The sum over every axis but the first."""
    return x.reshape(x.shape[0], -1).sum(axis=-1)


def split_keys(keys: Keys, num: int) -> tuple[Keys, ...]:
    """`num` independent arrays of keys (batch,) from one: sample i's depend on keys[i] alone."""
    return tuple(jnp.moveaxis(jax.vmap(lambda key: jax.random.split(key, num))(keys), 1, 0))


def normal_like(keys: Keys, x: Float[Array, "batch *dims"]) -> Float[jax.Array, "batch *dims"]:
    """Standard normal noise of x's shape and dtype; sample i's depends on keys[i] alone, not on its batch."""
    if keys.shape != x.shape[:1]:
        raise ValueError(f"expected one key per sample, shape {x.shape[:1]}, got keys of shape {keys.shape}")
    return jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(keys)
