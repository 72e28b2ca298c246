"""Divergence of a vector field: exact, or Hutchinson's estimate with random probes.

Both are functions (field, x, ...) -> (field(x), divergences), where the field maps a batch (batch, *dims) to one of the
same shape, row by row.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays
from diffax.typing import Keys

Sample = Float[jax.Array, "batch *dims"]
Probes = Float[jax.Array, "probes batch *dims"]
Field = Callable[[Sample], Sample]


def exact(field: Field, x: Sample) -> tuple[Sample, Float[jax.Array, "1 batch"]]:
    """The divergence sum_i d field_i / d x_i, by one forward derivative along each of the D axes of a sample.

    Costs D + 1 evaluations of the field, and the memory of D of them.
    """
    value, derivative = jax.linearize(field, x)
    axes = jnp.eye(x[0].size, dtype=x.dtype).reshape(-1, *x.shape[1:])

    def along(axis: jax.Array) -> Float[jax.Array, " batch"]:
        return arrays.sum_per_sample(derivative(jnp.broadcast_to(axis, x.shape)) * axis[None])

    return value, jax.vmap(along)(axes).sum(0, keepdims=True)


def hutchinson(field: Field, x: Sample, probes: Probes) -> tuple[Sample, Float[jax.Array, "probes batch"]]:
    """Hutchinson's estimates v . J v of the divergence, J the Jacobian of the field, one for each probe v.

    Unbiased for probes of mean 0 and covariance I (Hutchinson 1989; FFJORD, arXiv:1810.01367, eq. 7). For Rademacher
    probes the variance is that of the off-diagonal elements alone, sum_{i<j} (J_ij + J_ji)^2: none for a diagonal J.
    """
    value, derivative = jax.linearize(field, x)
    return value, jax.vmap(lambda probe: arrays.sum_per_sample(derivative(probe) * probe))(probes)


def rademacher(keys: Keys, x: Sample, *, num_probes: int = 1) -> Probes:
    """Probes of independent signs, +1 or -1, of x's shape and dtype; those of sample i depend on keys[i] alone.

    Raises:
      TypeError, ValueError: keys not typed, or not one per sample; num_probes < 1.
    """
    return _drawn(jax.random.rademacher, keys, x, num_probes)


def gaussian(keys: Keys, x: Sample, *, num_probes: int = 1) -> Probes:
    """Standard normal probes of x's shape and dtype; those of sample i depend on keys[i] alone.

    Their variance is that of `rademacher` and 2 sum_i J_ii^2 beside.

    Raises:
      TypeError, ValueError: keys not typed, or not one per sample; num_probes < 1.
    """
    return _drawn(jax.random.normal, keys, x, num_probes)


def no_probes(keys: Keys, x: Sample) -> None:
    """No probes: the divergence is `exact`."""


def _drawn(draw: Callable[..., jax.Array], keys: Keys, x: Sample, num_probes: int) -> Probes:
    arrays.check_keys(keys, x.shape[:1])
    if num_probes < 1:
        raise ValueError(f"num_probes must be >= 1, got {num_probes}")
    return jax.vmap(lambda key: draw(key, (num_probes, *x.shape[1:]), x.dtype), out_axes=1)(keys)
