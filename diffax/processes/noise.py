"""Noise laws: what eps is drawn from in x_t = alpha_t x_0 + sigma_t eps, and with it the prior at t = 1.

Every law has two methods:

  sample(keys, x)                      one draw of eps per key, of x's shape
  log_kernel(squared_distance, sigma, dim)
                                       the log density of x_t at that squared distance from alpha_t x_0, up to a
                                       constant: what weighs the data in an exact denoiser

With another law than the normal one the probability-flow ODE dx/dt = alpha' x_0 + sigma' eps of the posterior means
still carries the marginals along, so that every deterministic sampler stays as it is. What adds fresh noise does not.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays, streams
from diffax.typing import Array, Keys, Numeric

Sample = Float[jax.Array, "batch *dims"]


@runtime_checkable
class Noise(Protocol):
    """A noise law: the two methods described in this module's docstring."""

    def sample(self, keys: Keys, x: Sample) -> Sample: ...

    def log_kernel(self, squared_distance: Array, sigma: Array, dim: int) -> Array: ...


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class NormalNoise:
    """Standard normal noise: diffusion models, EDM and flow matching."""

    def sample(self, keys: Keys, x: Sample) -> Sample:
        return arrays.normal_like(keys, x)

    def log_kernel(self, squared_distance: Array, sigma: Array, dim: int) -> Array:
        return -squared_distance / (2 * sigma**2)


NORMAL = NormalNoise()


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class PoissonFlowNoise:
    """The noise of PFGM++ (arXiv:2302.04265): Poisson flow in the data space and D = `dim` augmented dimensions.

    The kernel p_r(x | x_0) is proportional to 1 / (|x - x_0|^2 + r^2)^((N + D) / 2) in N dimensions (eq. 4), with
    r = sigma sqrt(D) (section 4). In units of sigma it is the multivariate t-distribution with D degrees of freedom,
    which does not depend on sigma: a standard normal vector over sqrt(chi^2_D / D), one chi^2_D for all its entries.
    The paper draws the same law as a radius from a beta prime distribution and a direction (its appendix B).

    D = 1 is Poisson flow (PFGM, arXiv:2209.11178); D to infinity is normal noise, and with it EDM. The noise has a
    variance, D / (D - 2), for D > 2 only.

    Raises:
      ValueError: dim < 1.
    """

    dim: Numeric = 2048.0

    def __post_init__(self) -> None:
        if not self.dim >= 1:
            raise ValueError(f"dim, the number D of augmented dimensions, must be >= 1, got {self.dim}")

    def sample(self, keys: Keys, x: Sample) -> Sample:
        """Normal noise of the same keys, divided by a random scale: as dim grows, the draws become the normal ones."""
        half = jnp.asarray(self.dim, x.dtype) / 2

        def scale(key: jax.Array) -> jax.Array:
            return jax.random.gamma(jax.random.fold_in(key, streams.NOISE_SCALE), half, dtype=x.dtype) / half

        return arrays.normal_like(keys, x) / arrays.expand_to(jnp.sqrt(jax.vmap(scale)(keys)), x)

    def log_kernel(self, squared_distance: Array, sigma: Array, dim: int) -> Array:
        return -(dim + self.dim) / 2 * jnp.log1p(squared_distance / (self.dim * sigma**2))
