"""Classifier-free guidance folded into training: the velocity of a guided model as the target of its own training."""

import jax.numpy as jnp

from diffax import arrays
from diffax.losses._loss import PerSample, Sample, Unconditional
from diffax.typing import Numeric

NEEDS_CONDITIONS = (
    "guidance in training needs a network with conditions: set {option} back, or give the network some (conditions)"
)


def guided_velocity(
    v: Sample, conditional: Sample | None, unconditional: Sample, omega: PerSample, kappa: PerSample
) -> Sample:
    """omega v + kappa v_theta(condition) + (1 - omega - kappa) v_theta(null).

    The velocity of guidance scale omega / (1 - kappa), where the model's conditional velocity is the guided one that it
    learns: MeanFlow (arXiv:2505.13447), and with omega = 1 and kappa = 1 - 1 / scale improved MeanFlow.

    Args:
      v: of the data, under the condition.
      conditional, unconditional: the model's own velocities, without their gradient; the former may be None if kappa
        is 0.
    """
    omega, kappa = arrays.expand_to(omega, v), arrays.expand_to(kappa, v)
    guided = omega * v + (1 - omega - kappa) * unconditional
    return guided if conditional is None else guided + kappa * conditional


def where_guided(
    value: Numeric, otherwise: Numeric, t: PerSample, interval: tuple[Numeric, Numeric], unconditional: Unconditional
) -> PerSample:
    """`value` for samples with conditions at a time in the interval, (batch,); `otherwise` for all others."""
    is_guided = (t >= interval[0]) & (t <= interval[1]) & ~unconditional.dropped
    return jnp.where(is_guided, jnp.asarray(value, t.dtype), jnp.asarray(otherwise, t.dtype))
