"""Array helpers: pytree registration, NumPy or jax.numpy by argument, broadcasting, per-sample reductions and noise."""

import dataclasses
import functools
import inspect
from types import ModuleType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffax.typing import Array, Keys, Numeric

_Class = TypeVar("_Class")
_Tree = TypeVar("_Tree")


def register_pytree(cls: type[_Class]) -> type[_Class]:
    """Registers a dataclass as a pytree: its fields are the leaves, except those with metadata {"static": True}.

    Static fields become part of the tree structure. Used instead of jax.tree_util.register_dataclass, whose structures
    (jax 0.10) compare equal for different classes with the same number of fields: jit then finds one schedule's
    compiled program for another, about once in a hundred.

    JAX rebuilds pytrees around placeholders, such as None, object() and shapes. Therefore unflattening skips __init__,
    and the annotations of __init__ are set to Any for all fields that are not static, so that a run-time type checker
    accepts any leaf. The annotations of the class keep the plain types.
    """
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    static = tuple(field.name for field in fields if field.metadata.get("static"))
    leaves = tuple(field.name for field in fields if field.name not in static)
    keys = tuple(map(jax.tree_util.GetAttrKey, leaves))
    if "__init__" in vars(cls):
        cls.__init__.__annotations__.update(dict.fromkeys(leaves, Any))

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
    """The array library of the values: jax.numpy if any of them is a JAX array or tracer, else numpy."""
    return jnp if any(isinstance(value, jax.Array) for value in values) else np


def as_float(value: Numeric, *parameters: Numeric) -> tuple[Any, ...]:
    """Converts numbers to floating-point arrays of one library and one dtype: (numpy or jax.numpy, value, *parameters).

    The dtype is that of value if value is a floating-point array; for Python numbers and integers it is float64 in
    NumPy and JAX's default float in JAX.
    """
    xp = namespace(value, *parameters)
    value = xp.asarray(value)
    if not xp.issubdtype(value.dtype, xp.floating):
        value = value.astype(float)
    return xp, value, *(xp.asarray(parameter, value.dtype) for parameter in parameters)


def at_least_float32(x: Array) -> Array:
    """x in float32 if its dtype is narrower; float64 stays float64.

    States, times and coefficients of samplers and losses are computed in this dtype, whatever the dtype of the data:
    rounding a state to the 8 significant bits of bfloat16 at each of 250 steps adds up to an error of 0.07.

    Raises:
      TypeError: x is not floating-point.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"expected floating-point samples, such as images in [-1, 1] or points, got an array of {x.dtype}; convert "
            "them first, as x / 127.5 - 1 for pixels 0..255"
        )
    return x if jnp.dtype(x.dtype).itemsize >= 4 else x.astype(jnp.float32)


def in_float64(tree: _Tree) -> _Tree:
    """Casts the numbers of a pytree, such as a noise schedule, to NumPy float64, in which tables are built.

    An object that is not a pytree (a schedule of the user's own class) is returned as it is.
    """
    return jax.tree.map(lambda leaf: leaf if leaf is tree else np.asarray(leaf, np.float64), tree)


def check_keys(keys: Keys, shape: tuple[int, ...] | None = None) -> None:
    """Checks that keys are typed PRNG keys, one per sample: of this shape, or (batch,) for any batch.

    Raises:
      TypeError: other arrays, such as the legacy keys of jax.random.PRNGKey.
      ValueError: another shape.
    """
    if not isinstance(keys, jax.Array) or not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
        kind = f"an array of {keys.dtype} {keys.shape}" if hasattr(keys, "dtype") else type(keys).__name__
        raise TypeError(
            f"expected typed keys, one per sample, as jax.random.split(jax.random.key(0), batch), got {kind}; "
            "jax.random.wrap_key_data converts the legacy keys of jax.random.PRNGKey"
        )
    if keys.shape != shape if shape is not None else keys.ndim != 1:
        expected = f"shape {shape}" if shape is not None else "shape (batch,)"
        raise ValueError(f"expected one key per sample, {expected}, got keys of shape {keys.shape}")


def expand_to(a: Numeric, x: Array) -> Array:
    """Appends axes of size one to `a`, a scalar or (batch,), so that it multiplies x (batch, *dims); in x's dtype."""
    a = namespace(a, x).asarray(a, x.dtype)
    return a if a.ndim == 0 else a.reshape(a.shape + (1,) * (x.ndim - a.ndim))


def mean_per_sample(x: Float[Array, "batch *dims"]) -> Float[Array, " batch"]:
    """The mean of each sample: over every axis but the first."""
    return x.reshape(x.shape[0], -1).mean(axis=-1)


def sum_per_sample(x: Float[Array, "batch *dims"]) -> Float[Array, " batch"]:
    """The sum of each sample: over every axis but the first."""
    return x.reshape(x.shape[0], -1).sum(axis=-1)


def split_keys(keys: Keys, num: int) -> tuple[Keys, ...]:
    """Splits one array of keys (batch,) into `num` independent ones; those of sample i depend on keys[i] alone."""
    return tuple(jnp.moveaxis(jax.vmap(lambda key: jax.random.split(key, num))(keys), 1, 0))


def normal_like(keys: Keys, x: Float[Array, "batch *dims"]) -> Float[jax.Array, "batch *dims"]:
    """Standard normal noise of x's shape and dtype. The noise of sample i depends on keys[i] alone, not on the batch.

    Raises:
      TypeError: legacy keys.
      ValueError: keys not one per sample.
    """
    check_keys(keys, x.shape[:1])
    return jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(keys)


def as_pytree(thing: Any) -> Any:
    """The object as a pytree, which compiled programs take as an argument: one of the user's own need not be one."""
    leaves = jax.tree.leaves(thing)
    if len(leaves) != 1 or leaves[0] is not thing:
        return thing
    if inspect.isroutine(thing) or isinstance(thing, functools.partial):
        return jax.tree_util.Partial(thing)
    # Static: its numbers are constants of the program, and another object is another program.
    jax.tree_util.register_static(type(thing))
    return thing
