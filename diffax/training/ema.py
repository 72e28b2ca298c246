"""Exponential moving averages of parameters."""

from typing import Any

import jax
import jax.numpy as jnp

from diffax.typing import Numeric


def warmed_up(decay: Numeric, step: jax.Array) -> jax.Array:
    """min(decay, (1 + n) / (10 + n)) after n updates: the average forgets the initial parameters (score_sde)."""
    n = step.astype(jnp.float32)
    return jnp.minimum(jnp.asarray(decay, jnp.float32), (1 + n) / (10 + n))


def update(average: Any, params: Any, decay: jax.Array) -> Any:
    """decay average + (1 - decay) params, written so that equal trees stay equal to the last bit."""
    return jax.tree.map(lambda old, new: old + (1 - decay).astype(old.dtype) * (new - old), average, params)
