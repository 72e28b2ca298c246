"""Dequantization, divergence and refusals of config.likelihood; part of build."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from diffax import choices, schedules
from diffax.choices import Slot
from diffax.likelihood import dequantization, divergence
from diffax.likelihood.probability_flow import Dequantize, DrawProbes
from diffax.typing import Schedule

DEQUANTIZATIONS: dict[str, Callable[..., Any]] = {
    "uniform": dequantization.uniform,
    "truncated_normal": dequantization.truncated_normal,
    "variational": dequantization.variational,
}
DIVERGENCES: dict[str, Callable[..., Any]] = {
    "rademacher": divergence.rademacher,
    "gaussian": divergence.gaussian,
    "exact": divergence.no_probes,
}
DEQUANTIZATION_SLOT = Slot(DEQUANTIZATIONS, passed=("keys", "schedule", "x", "bins"), is_function=True)
DIVERGENCE_SLOT = Slot(DIVERGENCES, passed=("keys", "x"), is_function=True)
# Of the chain of the variational bound, for schedules in continuous time.
_NUM_STEPS = 1000
# Where the bound in continuous time begins, half a bin in standard deviations of noise, and where it ends, with a prior
# term below 1e-5 nats per dimension.
_BIN_STDS, _LAST_LOG_SNR = 3.0, -12.0


def dequantize(config: ConfigDict) -> Dequantize:
    """config.likelihood.dequantization."""
    return choices.make("likelihood.dequantization", config.likelihood.dequantization, DEQUANTIZATION_SLOT)


def draw_probes(config: ConfigDict) -> DrawProbes:
    """config.likelihood.divergence."""
    return choices.make("likelihood.divergence", config.likelihood.divergence, DIVERGENCE_SLOT)


def bound_times(config: ConfigDict, schedule: Schedule) -> np.ndarray:
    """The noise levels of the variational bound's chain: config.likelihood.num_steps, evenly spaced in t, decreasing.

    Unless given that is every step of a discrete schedule, and 1,000 of one in continuous time.

    Raises:
      ValueError: num_steps < 1, or more than a discrete schedule has.
    """
    most = schedule.num_steps if isinstance(schedule, schedules.Discrete) else None
    num = config.likelihood.num_steps or most or _NUM_STEPS
    if num < 1 or (most is not None and num > most):
        raise ValueError(f"likelihood.num_steps must be >= 1{'' if most is None else f' and <= {most}'}, got {num}")
    times = np.arange(num, 0, -1) / num
    return times if most is None else np.ceil(times * most) / most


def continuous_times(schedule: Schedule, bins: dequantization.Bins | None) -> tuple[float, float]:
    """The times between which the bound in continuous time runs: from where the decoder sees x_t to the prior.

    Args:
      bins: of discrete data, whose decoder is of levels; None for a density.
    """
    first, last = float(dequantization.first_time(schedule)), _time_of(schedule, _LAST_LOG_SNR)
    if bins is not None:
        first = max(first, _time_of(schedule, 2 * math.log(2 * _BIN_STDS / bins.width)))
    return first, last


def _time_of(schedule: Schedule, log_snr: float) -> float:
    """The time of a log-SNR, or the last where it does not get so low."""
    return min(float(schedule.t_of_log_snr(jnp.asarray(log_snr, jnp.float32))), 1.0)


def check_continuous(config: ConfigDict, schedule: Schedule) -> None:
    """Raises ValueError for a model in discrete time, or num_draws = 0: continuous time has no steps."""
    if isinstance(schedule, schedules.Discrete):
        raise ValueError(
            f"the bound in continuous time is of models trained at all times, and this one was at "
            f"{schedule.num_steps:,} steps (schedule {config.schedule.name!r}): use --ways=bound"
        )
    if config.likelihood.num_draws == 0:
        raise ValueError("likelihood.num_draws = 0 means all steps, and the bound in continuous time has none: use 50")


def check_likelihood(config: ConfigDict) -> None:
    """Refuses settings of config.sampler under which samples are not those of the model's density, and bad numbers.

    Raises:
      ValueError: guidance other than none or of scale 1, epsilon scaling; numbers out of range.
    """
    options, sampler = config.likelihood, config.sampler
    has = None
    if sampler.guidance.name != "none" and not (
        sampler.guidance.name == "classifier_free" and sampler.guidance.scale == 1
    ):
        has = f"guidance ({sampler.guidance.name})", "sampler.guidance=none"
    elif sampler.epsilon_scale != 1:
        has = f"epsilon scaling ({sampler.epsilon_scale:g})", "sampler.epsilon_scale=1"
    if has is not None:
        raise ValueError(_refusal(*has))
    if config.noise.name != "normal":
        raise ValueError(f"likelihoods are of models of normal noise, and this one has noise {config.noise.name!r}")
    if options.split not in ("train", "held_out"):
        raise ValueError(f"likelihood.split must be train or held_out, got {options.split!r}")
    if options.num_examples < 2:
        raise ValueError(f"likelihood.num_examples must be >= 2, got {options.num_examples}")
    if options.num_draws < 0 or options.num_draws == 1:
        raise ValueError(f"likelihood.num_draws must be >= 2, or 0 for all steps, got {options.num_draws}")
    if not options.tolerance > 0:
        raise ValueError(f"likelihood.tolerance must be > 0, got {options.tolerance:g}")
    if options.variance not in (None, "small", "large", "learned"):
        raise ValueError(f"likelihood.variance must be small, large or learned, got {options.variance!r}")


def check_ode(config: ConfigDict) -> None:
    """Raises ValueError for thresholding, which a likelihood by the ODE cannot have.

    The bound can: its chain is a generative model with any prediction of x_0. Published bounds of improved DDPM
    (arXiv:2102.09672) are of clipped predictions.
    """
    thresholding = config.sampler.thresholding.name
    if thresholding != "none":
        refusal = _refusal(f"thresholding ({thresholding})", "sampler.thresholding=none")
        raise ValueError(f"{refusal}, and --ways=bound the bound of the chain that is sampled")


def _refusal(what: str, setting: str) -> str:
    return (
        f"there is no likelihood of samples drawn with {what}: its prediction is not that of any density. "
        f"--config.{setting} gives the likelihood of the model itself"
    )
