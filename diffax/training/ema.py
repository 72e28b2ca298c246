"""Exponential moving averages (EMA) of parameters: constant decay, half-life in examples, power-function averages."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from diffax import arrays
from diffax.typing import Numeric


@runtime_checkable
class Averaging(Protocol):
    """The rule of an average: a pytree whose leaves are its numbers."""

    def share(self, step: jax.Array, batch_size: int) -> jax.Array:
        """1 - decay of the update that follows `step` earlier ones.

        The share and not the decay, because float32 would lose the share of a long average in 1 - share.
        """


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Constant:
    """EMA with the decay min(decay, (1 + n) / (10 + n)) after n steps; the warm-up forgets the initial parameters.

    As in score_sde's code (arXiv:2011.13456); with `decay` 0.9999 this is DDPM's EMA after its first 90,000 steps.
    """

    decay: Numeric = 0.9999

    def __post_init__(self) -> None:
        if isinstance(self.decay, int | float) and not 0 <= self.decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {self.decay}")

    def share(self, step: jax.Array, batch_size: int) -> jax.Array:
        n = step.astype(jnp.float32)
        return 1 - jnp.minimum(jnp.asarray(self.decay, jnp.float32), (1 + n) / (10 + n))


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class HalfLife:
    """EMA with a half-life of `images` examples, or of the share ramp_up of all examples so far where that is less.

    EDM (arXiv:2206.00364, its training loop): decay 0.5^(batch / min(images, ramp_up n batch)) after n steps.
    """

    images: Numeric = 500_000
    ramp_up: Numeric = 0.05

    def __post_init__(self) -> None:
        for name, value in (("images", self.images), ("ramp_up", self.ramp_up)):
            if isinstance(value, int | float) and not value > 0:
                raise ValueError(f"{name} of a half-life average must be > 0, got {value}")

    def share(self, step: jax.Array, batch_size: int) -> jax.Array:
        steps = jnp.minimum(jnp.asarray(self.images, jnp.float32) / batch_size, self.ramp_up * step.astype(jnp.float32))
        return -jnp.expm1(-jnp.log(2.0) / jnp.maximum(steps, 1e-8))


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Power:
    """Power-function average (EDM2): the mean of all parameters so far, weighted by step^exponent.

    The decay is (1 - 1/t)^(exponent + 1) at step t = 1, 2, ... (EDM2, arXiv:2312.02696, section 3.1; its gamma is our
    exponent), so the average of a run twice as long is twice as long. training.posthoc reconstructs other lengths.
    """

    exponent: Numeric

    @classmethod
    def of_length(cls, length: float = 0.1) -> "Power":
        """The power-function average whose weights have the standard deviation length x t after t steps.

        length is the sigma_rel of EDM2. Raises ValueError for one outside (0, 0.28]; at the longest all weights are
        equal.
        """
        return cls(exponent_of(length))

    def share(self, step: jax.Array, batch_size: int) -> jax.Array:
        return -jnp.expm1((self.exponent + 1) * jnp.log1p(-1 / (step.astype(jnp.float32) + 1)))


def exponent_of(sigma_rel: float) -> float:
    """gamma of sigma_rel = sqrt((gamma + 1) / ((gamma + 2)^2 (gamma + 3))), a root of a cubic (arXiv:2312.02696).

    Raises:
      ValueError: sigma_rel outside (0, 0.28].
    """
    if not 0 < sigma_rel <= 0.28:
        raise ValueError(f"the relative length of a power-function average must be in (0, 0.28], got {sigma_rel}")
    t = sigma_rel**-2
    return float(np.roots([1, 7, 16 - t, 12 - t]).real.max())


def update(average: Any, params: Any, share: jax.Array) -> Any:
    """(1 - share) average + share params, written so that equal trees stay equal to the last bit."""
    return jax.tree.map(lambda old, new: old + share.astype(old.dtype) * (new - old), average, params)
