"""Mixed precision: the dtype a network computes in, and the wider one for the parts that must not be rounded."""

import jax.numpy as jnp
from jax.typing import DTypeLike


def at_least_float32(dtype: DTypeLike) -> jnp.dtype:
    """Returns float32 for bfloat16, float16, integers and float32; float64 for float64.

    Statistics, time features and the last layer use it: bfloat16 has 8 significant bits, too few for a sum over an
    image or for the sine of a time index.
    """
    return jnp.dtype(jnp.float64) if jnp.dtype(dtype) == jnp.float64 else jnp.dtype(jnp.float32)


def check_dtype(dtype: DTypeLike) -> None:
    """Raises ValueError unless a network can compute in this dtype."""
    try:
        is_float = jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        is_float = False
    if not is_float:
        raise ValueError(f"model.dtype must be one of float32, bfloat16, float16, float64, got {dtype!r}")
