"""Dropout with one mask per sample, drawn by the sample's own key."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def dropout(
    h: Float[Array, "batch *dims"], keys: Key[Array, " batch"] | None, rate: float, layer: int
) -> Float[Array, "batch *dims"]:
    """Sets entries to zero with probability `rate` and divides the others by 1 - rate, so the mean is kept.

    The mask of sample i is a function of keys[i] and `layer` alone: a sample does not know its batch. `layer` numbers
    the dropout layers of one network, each with a number of its own. True for threefry keys, JAX's default; the "rbg"
    generator gives other numbers under vmap.

    Args:
        keys: one typed JAX key per sample; None means no dropout.

    Raises:
        ValueError: rate outside [0, 1), or keys that are not typed keys of shape (batch,).
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"dropout must be in [0, 1), got {rate}")
    if keys is None or rate == 0.0:
        return h
    check_keys(keys, h.shape[0])
    keep = 1.0 - rate

    def mask(key: Key[Array, ""]) -> Array:
        return jax.random.bernoulli(jax.random.fold_in(key, layer), keep, h.shape[1:])

    return jnp.where(jax.vmap(mask)(keys), h / keep, 0.0)


def check_keys(keys: Array, batch: int) -> None:
    """Raises ValueError unless `keys` are typed PRNG keys of shape (batch,)."""
    if not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
        raise ValueError(f"keys must be typed PRNG keys (jax.random.key), got an array of {keys.dtype}")
    if keys.shape != (batch,):
        raise ValueError(
            f"keys must hold one key per sample, shape ({batch},), got {keys.shape}: use jax.random.split(key, {batch})"
        )
