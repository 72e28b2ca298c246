"""Exponential moving averages of parameters: how much of the new parameters enters an average at every step."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from diffax import arrays
from diffax.typing import Node, Numeric


@runtime_checkable
class Averaging(Protocol):
    """A pytree whose leaves are its numbers."""

    def share(self, step: jax.Array, batch_size: int) -> jax.Array:
        """1 - decay of the update after `step` earlier ones.

        Not the decay: in float32 the share of a long average is lost in 1 - share.
        """


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Constant:
    """The decay min(decay, (1 + n) / (10 + n)) after n steps: it forgets the initial parameters (score_sde)."""

    decay: Node[Numeric]

    def share(self, step: jax.Array, batch_size: int) -> jax.Array:
        n = step.astype(jnp.float32)
        return 1 - jnp.minimum(jnp.asarray(self.decay, jnp.float32), (1 + n) / (10 + n))


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class HalfLife:
    """What entered counts half after `images` examples, or after the share ramp_up of all so far where that is less.

    EDM (arXiv:2206.00364, its training loop): decay 0.5^(batch / min(images, ramp_up n batch)) after n steps.
    """

    images: Node[Numeric]
    ramp_up: Node[Numeric] = 0.05

    def share(self, step: jax.Array, batch_size: int) -> jax.Array:
        steps = jnp.minimum(jnp.asarray(self.images, jnp.float32) / batch_size, self.ramp_up * step.astype(jnp.float32))
        return -jnp.expm1(-jnp.log(2.0) / jnp.maximum(steps, 1e-8))


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Power:
    """The weighted mean of all parameters so far with weights that grow as the step's power: step^exponent.

    The decay is (1 - 1/t)^(exponent + 1) at step t = 1, 2, ... (EDM2, arXiv:2312.02696, section 3.1; its gamma is our
    exponent), so the average of a run twice as long is twice as long. See posthoc for lengths that were not tracked.
    """

    exponent: Node[Numeric]

    @classmethod
    def of_length(cls, sigma_rel: float) -> "Power":
        """The average whose weights have the standard deviation sigma_rel t after t steps.

        Raises:
          ValueError: sigma_rel outside (0, 0.28], the longest being the weights that are all the same.
        """
        return cls(exponent_of(sigma_rel))

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
