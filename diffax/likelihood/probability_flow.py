"""Exact log-densities by the probability-flow ODE (instantaneous change of variables)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from diffax import arrays
from diffax.likelihood import dequantization, divergence
from diffax.likelihood.dequantization import Bins, Dequantized
from diffax.processes import bounds
from diffax.processes import probability_flow as flow
from diffax.typing import Denoiser, Keys, Numeric, Schedule

Sample = Float[jax.Array, "batch *dims"]
PerSample = Float[jax.Array, " batch"]
Dequantize = Callable[[Keys, Schedule, Sample, Bins], Dequantized]
DrawProbes = Callable[[Keys, Sample], divergence.Probes | None]


class LogDensity(NamedTuple):
    """Log-densities of a batch.

    nats: log q(x), the mean over the probes; NaN where the solver took more than its max_steps.
    standard_error: of nats, over the probes; 0 where the divergence is exact, NaN for a single probe.
    num_evaluations: of the denoiser, by example; each also takes its derivatives along the probes.
    """

    nats: PerSample
    standard_error: PerSample
    num_evaluations: Int[jax.Array, " batch"]


def log_density(
    denoiser: Denoiser,
    schedule: Schedule,
    x: Sample,
    *,
    probes: divergence.Probes | None = None,
    prior: Callable[[Sample], PerSample] | None = None,
    start: Numeric = 0.0,
    end: Numeric = 1.0,
    rtol: Numeric = 1e-5,
    atol: Numeric = 1e-5,
    max_steps: int = 4096,
) -> LogDensity:
    """The log-density of x at the time `start` under the model: that of the point where its ODE trajectory ends.

    log q_start(x) = log q_end(x_end) + integral of div (dy / dlambda) dlambda + D log (N_end / N_start), with the
    normalized state y = x / N (processes.probability_flow), D the dimensions of a sample (arXiv:2011.13456, eq. 39;
    arXiv:1806.07366). Integrated in log-SNR, adaptively, each sample with its own steps. State and divergence are
    held to the tolerance each, the divergence in nats per dimension. float64 where x is, else float32.

    Args:
      x: (batch, *dims), at the time `start`: noisy data, or data where `start` is 0.
      probes: of Hutchinson's estimator, from divergence.rademacher or divergence.gaussian, fixed along the path. None
        takes the exact divergence, at the cost of D derivatives an evaluation.
      prior: the log-density at `end`, in nats. None is the Gaussian N(0, sigma_end^2), from which sampling starts.
      start, end: 0 <= start < end <= 1. Log-SNRs beyond +-30, where the state does not move, are left out.
      rtol, atol: of the solver.

    Raises:
      ValueError: start not before end, where they are plain numbers.
    """
    if isinstance(start, float | int) and isinstance(end, float | int) and not 0 <= start < end <= 1:
        raise ValueError(f"start and end must be 0 <= start < end <= 1, got {start} and {end}")
    x = arrays.at_least_float32(x)
    start, end = (jnp.asarray(t, x.dtype) for t in (start, end))
    norm_start, norm_end = flow.norm(schedule, start), flow.norm(schedule, end)
    dim = x[0].size

    def slope(state: tuple[Sample, jax.Array], log_snr: PerSample) -> tuple[Sample, jax.Array]:
        def field(y: Sample) -> Sample:
            return flow.velocity(denoiser, schedule, y, log_snr)

        if probes is None:
            value, divergences = divergence.exact(field, state[0])
        else:
            value, divergences = divergence.hutchinson(field, state[0], probes.astype(x.dtype))
        return value, divergences.T / dim

    num_probes = 1 if probes is None else len(probes)
    (y, integral), num_evaluations = flow.solve(
        slope,
        (x / norm_start, jnp.zeros((len(x), num_probes), x.dtype)),
        flow.log_snr_of(schedule, start),
        flow.log_snr_of(schedule, end),
        rtol=rtol,
        atol=atol,
        max_steps=max_steps,
    )
    x_end = y * norm_end
    at_end = _gaussian(x_end, schedule.sigma(end)) if prior is None else prior(x_end)
    nats = at_end + dim * (integral.mean(1) + jnp.log(norm_end / norm_start))
    return LogDensity(nats, _standard_error(dim * integral, exact=probes is None), num_evaluations)


def log_likelihood(
    keys: Keys,
    denoiser: Denoiser,
    schedule: Schedule,
    x_0: Sample,
    *,
    bins: Bins | None,
    dequantize: Dequantize | None,
    draw_probes: DrawProbes = divergence.rademacher,
    rtol: Numeric = 1e-5,
    atol: Numeric = 1e-5,
    max_steps: int = 4096,
) -> LogDensity:
    """Log-likelihoods of data in nats: log-densities of points, or lower bounds of log-probabilities of discrete data.

    One draw of the dequantization noise and of the probes for each example, so that the mean over examples is unbiased
    for the bound. `bits_per_dim` converts to bits per dimension.

    Args:
      keys: (batch,) typed keys; noise and probes of example i depend on keys[i] alone.
      x_0: (batch, *dims), the centres of the bins, or points.
      bins: of discrete data; None for points, whose density is taken at dequantization.first_time.
      dequantize: one of dequantization.uniform, truncated_normal, variational, or such with other options; None for
        points.
      draw_probes: one of divergence.rademacher, gaussian, no_probes, or such with another num_probes.
      rtol, atol, max_steps: of `log_density`.

    Raises:
      ValueError: bins without dequantization, or the other way round.
    """
    if (bins is None) != (dequantize is None):
        raise ValueError("discrete data need both bins and dequantize, points neither")
    noise_keys, probe_keys = arrays.split_keys(keys, 2)
    x_0 = arrays.at_least_float32(x_0)
    if bins is None or dequantize is None:
        x, start, correction = x_0, dequantization.first_time(schedule), jnp.zeros(len(x_0), x_0.dtype)
    else:
        x, start, correction = dequantize(noise_keys, schedule, x_0, bins)
    probes = draw_probes(probe_keys, x)
    solver = {"rtol": rtol, "atol": atol, "max_steps": max_steps}
    result = log_density(denoiser, schedule, x, probes=probes, start=start, **solver)
    return result._replace(nats=result.nats + correction)


def _gaussian(x: Sample, std: jax.Array) -> PerSample:
    """The log-density of N(0, std^2)."""
    return arrays.sum_per_sample(bounds.gaussian_log_density(x, 0.0, 2 * jnp.log(std)))


def _standard_error(values: Float[jax.Array, "batch probes"], *, exact: bool) -> PerSample:
    if exact:
        return jnp.zeros_like(values[:, 0])
    num = values.shape[1]
    return values.std(1, ddof=1) / num**0.5 if num > 1 else jnp.full_like(values[:, 0], jnp.nan)
