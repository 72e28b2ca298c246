"""Time inputs of networks (timestep conditioning): functions (schedule, t) to one number per sample."""

import jax.numpy as jnp

from diffax.schedules import Discrete
from diffax.typing import Array, Numeric, Schedule


def index(schedule: Schedule, t: Numeric) -> Array:
    """DDPM's step index 0..T-1 of a Discrete schedule, as a float.

    Raises:
      ValueError: a schedule that is not Discrete.
    """
    return _discrete(schedule).index_of(t)


def fractional_index(schedule: Schedule, t: Numeric) -> Array:
    """DDPM's step index without rounding, t T - 1 within 0..T-1: for ODE solvers, which need a prediction smooth in t.

    Raises:
      ValueError: a schedule that is not Discrete.
    """
    num_steps = _discrete(schedule).num_steps
    return jnp.clip(jnp.asarray(t) * num_steps - 1, 0, num_steps - 1)


def _discrete(schedule: Schedule) -> Discrete:
    if not isinstance(schedule, Discrete):
        raise ValueError(f"the time input 'index' needs a Discrete schedule, got {type(schedule).__name__}")
    return schedule


def scaled(schedule: Schedule, t: Numeric) -> Array:
    """The scaled time 999 t, as in score_sde and rectified flow."""
    return 999 * jnp.asarray(t)


def unscaled(schedule: Schedule, t: Numeric) -> Array:
    """The time t itself, as in MeanFlow (arXiv:2505.13447).

    Features of it are smooth in t: losses of flow maps are made of the network's derivative in t, and that of features
    of 999 t is a thousand times as large.
    """
    return jnp.asarray(t)


def quarter_log_sigma(schedule: Schedule, t: Numeric) -> Array:
    """EDM's c_noise, log(sigma / alpha) / 4 (arXiv:2206.00364, table 1)."""
    return -schedule.log_snr(t) / 8


def log_snr(schedule: Schedule, t: Numeric) -> Array:
    """The log-SNR in nats, within +-schedules.LOG_SNR_LIMIT."""
    return schedule.log_snr(t)
