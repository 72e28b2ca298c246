"""The variational bound in continuous time (VDM, arXiv:2107.00630), for any denoiser and noise schedule."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffax import arrays, processes
from diffax.processes import time_sampling
from diffax.typing import Denoiser, Keys, Schedule

Sample = Float[jax.Array, "batch *dims"]
PerSample = Float[jax.Array, " batch"]


class Terms(NamedTuple):
    """The terms of a bound on -log p(x_0) in nats, (batch,) each."""

    prior: PerSample
    reconstruction: PerSample
    diffusion: PerSample

    @property
    def total(self) -> PerSample:
        """The bound."""
        return self.prior + self.reconstruction + self.diffusion


def terms(
    keys: Keys,
    denoiser: Denoiser,
    schedule: Schedule,
    x_0: Sample,
    *,
    times: tuple[float, float] = (1e-3, 1.0),
    num_times: int = 1,
    uniform_in: Literal["t", "log_snr"] = "t",
    num_levels: int | None = None,
) -> Terms:
    """An unbiased estimate of the variational bound of every example, with infinitely many steps between two times.

    -log p(x_0) <= prior + reconstruction + diffusion (arXiv:2107.00630, eq. 10 and 17), with (t_0, t_1) = times:
      prior            KL(q(x_t1 | x_0) || N(0, sigma_t1^2)) = SNR_t1 |x_0|^2 / 2
      reconstruction   E -log p(x_0 | x_t0), of a decoder proportional to q(x_t0 | x_0) over all values of x_0
      diffusion        1/2 integral of E|eps - eps_hat|^2 d log_snr, from log_snr_t1 to log_snr_t0

    All three depend on the noise schedule through its log-SNR at the two times alone (section 5.1); what lies between
    changes the variance of the estimate where times are drawn uniformly in t. The prior is that of the samplers; VDM's
    has the variance alpha^2 + sigma^2.

    Args:
      keys: (batch,) typed keys; the estimate of sample i depends on keys[i] alone.
      denoiser: a denoiser of any network, or an exact one.
      schedule: the noise schedule of the denoiser.
      x_0: the data, (batch, *dims).
      times: (t_0, t_1); sigma must not be 0 at t_0.
      num_times: draws of the diffusion term for each example, one from each of as many equal slices of time (stratified
        sampling). One evaluation of the denoiser each.
      uniform_in: what the draws are uniform in: t, as in VDM, which is what a learned schedule is trained for; or
        log-SNR, whose variance is bounded where log-SNR is steep in t. It has to be finite at both times.
      num_levels: None for the density of continuous data, whose reconstruction is in closed form. For discrete data,
        their number of levels: x_0 are then among the num_levels evenly spaced numbers from -1 to 1, whose
        probability is bounded.

    Returns:
      Terms in nats.

    Raises:
      ValueError: times not increasing in [0, 1], sigma = 0 at t_0, num_times < 1, num_levels < 2.
    """
    _check(schedule, times, num_times, num_levels)
    arrays.check_keys(keys, x_0.shape[:1])
    x_0 = arrays.at_least_float32(x_0)
    low, high = times
    decoder_keys, diffusion_keys = arrays.split_keys(keys, 2)
    prior = jnp.exp(_log_snr(schedule, high, x_0)) * arrays.sum_per_sample(x_0**2) / 2
    if num_levels is None:
        num_dims, log_snr = x_0[0].size, _log_snr(schedule, low, x_0)
        reconstruction = num_dims / 2 * (1 + jnp.log(2 * jnp.pi) - log_snr) * jnp.ones_like(prior)
    else:
        reconstruction = _discrete_reconstruction(decoder_keys, schedule, x_0, low, num_levels)

    density, ends = time_sampling.Uniform(low, high), [_log_snr(schedule, t, x_0) for t in times]

    def add_draw(total: PerSample, index: jax.Array) -> tuple[PerSample, None]:
        draw_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(diffusion_keys, index)
        time_keys, noise_keys = arrays.split_keys(draw_keys, 2)
        u = jax.vmap(jax.random.uniform)(time_keys)
        u = (index.astype(u.dtype) + u) / num_times
        if uniform_in == "t":
            t = density.quantile(schedule, u).astype(x_0.dtype)
            length = jnp.exp(-density.log_density(schedule, t))
        else:
            t = schedule.t_of_log_snr(ends[0] + (ends[1] - ends[0]) * u.astype(x_0.dtype))
            length = ends[0] - ends[1]
        eps = arrays.normal_like(noise_keys, x_0)
        error = denoiser(processes.diffuse(schedule, x_0, eps, t), t).eps.astype(x_0.dtype) - eps
        return total + length / 2 * arrays.sum_per_sample(error**2), None

    total, _ = jax.lax.scan(add_draw, jnp.zeros_like(prior), jnp.arange(num_times))
    return Terms(prior, reconstruction, total / num_times)


def _discrete_reconstruction(keys: Keys, schedule: Schedule, x_0: Sample, t: float, num_levels: int) -> PerSample:
    """-log p(x_0 | x_t) for one x_t, of independent pixels with p(level | x_t) proportional to q(x_t | level).

    arXiv:2107.00630, eq. 8 and appendix C, in the coordinate x_t / alpha = x_0 + eps / sqrt(SNR).
    """
    half_snr = jnp.exp(_log_snr(schedule, t, x_0)) / 2
    seen = x_0 + arrays.normal_like(keys, x_0) / jnp.sqrt(2 * half_snr)
    levels = jnp.linspace(-1, 1, num_levels, dtype=x_0.dtype)

    def add_level(total: Sample, level: jax.Array) -> tuple[Sample, None]:
        return jnp.logaddexp(total, -half_snr * (seen - level) ** 2), None

    log_norm, _ = jax.lax.scan(add_level, jnp.full_like(x_0, -jnp.inf), levels)
    return arrays.sum_per_sample(log_norm + half_snr * (seen - x_0) ** 2)


def _log_snr(schedule: Schedule, t: float, x_0: Sample) -> jax.Array:
    return jnp.asarray(schedule.log_snr(jnp.asarray(t, x_0.dtype)), x_0.dtype)


def _check(schedule: Schedule, times: tuple[float, float], num_times: int, num_levels: int | None) -> None:
    low, high = times
    if not 0 <= low < high <= 1:
        raise ValueError(f"times must increase within [0, 1], got {times}")
    sigma = schedule.sigma(np.float64(low))
    if not isinstance(sigma, jax.core.Tracer) and float(sigma) == 0:
        raise ValueError(
            f"the bound needs sigma > 0 at the first of its times, and sigma({low:g}) = 0: choose a later one"
        )
    if num_times < 1:
        raise ValueError(f"num_times must be >= 1, got {num_times}")
    if num_levels is not None and num_levels < 2:
        raise ValueError(f"num_levels must be >= 2, or None for continuous data, got {num_levels}")
