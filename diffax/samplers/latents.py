"""DDIM inversion, and interpolation between latents.

Any deterministic table on increasing times inverts to the accuracy of its order, for example
run(None, denoiser, unipc(schedule, inversion_times(schedule, 50)), data). `invert` inverts DDIM's steps up to rounding
errors. An edit is an inversion with one denoiser followed by sampling with another, on the same times (dual diffusion
implicit bridges, arXiv:2203.08382; for flows arXiv:2411.04746). SDEdit (arXiv:2108.01073) is processes.diffuse to an
intermediate time, followed by sampling from there.

Latents are computed and returned in float32, or in float64 where they are given so.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from diffax import arrays
from diffax.samplers import grids
from diffax.samplers.table import check_times, t_of_log_snr
from diffax.typing import Denoiser, Numeric, Schedule

# The log-SNR of the data and of the noise in inversion: 2 log(1 / 0.01) and -2 log(55).
_INVERTED = (9.21, -8.0)

Sample = Float[jax.Array, "batch *dims"]


class Inversion(NamedTuple):
    """The latent at the last time; and the change of x in the last sweep, (batch,), the largest over all steps."""

    x: Sample
    residual: Float[jax.Array, " batch"]


def inversion_times(schedule: Schedule, num_steps: int, *, strength: float = 1.0) -> Float[np.ndarray, " times"]:
    """Increasing times for inversion and editing, from near the data to the noise level that a strength sets.

    Evenly spaced in log-SNR. Both ends keep away from where it is infinite: data are the state at sigma / alpha = 0.01,
    DDPM's first noise level, and strength 1 ends at sigma / alpha = 55, where 2% of the amplitude is data. A strength
    is a share of the time between. Times of a Discrete schedule are rounded to those of its training; repeated ones are
    left out.

    Args:
      strength: in (0, 1]. Below 1 the last state still holds the coarse structure of the data, which an edit keeps.

    Raises:
      ValueError: num_steps < 1, a strength outside (0, 1], a schedule without an inverse of its log-SNR.
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength must be in (0, 1], got {strength:g}")
    first, last = np.clip(t_of_log_snr(arrays.in_float64(schedule), np.array(_INVERTED)), 0, 1)
    last = first + strength * (last - first)
    times = grids.log_snr(schedule, num_steps, start=float(last), end=float(first))[::-1]
    steps = getattr(schedule, "num_steps", None)
    return times if steps is None else np.unique(np.maximum(np.round(times * steps), 1)) / steps


def invert(denoiser: Denoiser, schedule: Schedule, x: Sample, times: npt.ArrayLike, *, sweeps: int = 10) -> Inversion:
    """Exact DDIM inversion: the x_t that ddim(schedule, times[::-1]) maps to x, by fixed-point iteration at every step.

    A DDIM step x_s = (alpha_s / alpha_t) x_t + (sigma_s - alpha_s sigma_t / alpha_t) eps(x_t, t) is solved for x_t by
    iterating with eps at the last estimate of x_t (arXiv:2309.04907, section 4.1), starting from eps at (x_s, s). Each
    sweep reduces the error by a factor proportional to the step size. The cost is `sweeps` evaluations per step and one
    more at the start.

    Args:
      x: the state at times[0], which is data for times[0] = 0.
      times: strictly increasing. The last must be below pure noise, where every x_t maps to the same x_s.
      sweeps: the number of fixed-point iterations per step.

    Raises:
      ValueError: times not strictly increasing in [0, 1], alpha = 0 at the last, sweeps < 1.
    """
    x = arrays.at_least_float32(x)
    exact, times = arrays.in_float64(schedule), check_times(times, decreasing=False)
    alpha, sigma = exact.alpha(times), exact.sigma(times)
    if alpha[-1] == 0:
        raise ValueError(f"nothing can be inverted to pure noise (alpha = 0): end below t = {times[-1]:g}")
    if sweeps < 1:
        raise ValueError(f"sweeps must be >= 1, got {sweeps}")
    ratio = alpha[1:] / alpha[:-1]
    columns = (times[1:], ratio, sigma[1:] - ratio * sigma[:-1])
    start = denoiser(x, jnp.asarray(times[0], x.dtype)).eps.astype(x.dtype)

    def step(carry: tuple[Sample, Sample], row: tuple[jax.Array, ...]) -> tuple[tuple[Sample, Sample], jax.Array]:
        (x_s, eps), (t, kept, added) = carry, row

        def sweep(_: int | jax.Array, state: tuple[Sample, Sample, Sample]) -> tuple[Sample, Sample, Sample]:
            now = state[1]
            eps = denoiser(now, t).eps.astype(now.dtype)
            return now, kept * x_s + added * eps, eps

        first = kept * x_s + added * eps
        before, now, eps = jax.lax.fori_loop(0, sweeps, sweep, (x_s, first, eps))
        return (now, eps), jnp.max(jnp.abs(now - before).reshape(x.shape[0], -1), axis=1)

    rows = tuple(jnp.asarray(column, x.dtype) for column in columns)
    (end, _), residuals = jax.lax.scan(step, (x, start), rows)
    return Inversion(end, residuals.max(axis=0))


def lerp(x: Sample, y: Sample, share: Numeric) -> Sample:
    """Linear interpolation (1 - share) x + share y; share is a number or one per sample, (batch,)."""
    x, y = arrays.at_least_float32(x), arrays.at_least_float32(y)
    share = arrays.expand_to(share, x)
    return (1 - share) * x + share * y


def slerp(x: Sample, y: Sample, share: Numeric) -> Sample:
    """Spherical linear interpolation of each sample along the great circle from x to y (arXiv:1609.04468).

    Between two draws of Gaussian noise it keeps the norm of Gaussian noise. Norms are interpolated linearly. Nearly
    parallel samples are interpolated linearly. share is a number or one per sample, (batch,).
    """
    x, y = arrays.at_least_float32(x), arrays.at_least_float32(y)
    sizes = [_norm(value) for value in (x, y)]
    units = [
        value / arrays.expand_to(jnp.maximum(size, 1e-12), value) for value, size in zip((x, y), sizes, strict=True)
    ]
    # The angle from both chords is accurate for small angles, where arccos is not.
    half = [_norm(units[0] + sign * units[1]) for sign in (-1, 1)]
    angle = 2 * jnp.arctan2(*half)
    share = jnp.broadcast_to(jnp.asarray(share, x.dtype), angle.shape)
    small = jnp.sin(angle) < 1e-4
    sine = jnp.where(small, 1, jnp.sin(angle))
    weights = [jnp.where(small, linear, jnp.sin(linear * angle) / sine) for linear in (1 - share, share)]
    size = (1 - share) * sizes[0] + share * sizes[1]
    direction = sum(
        (arrays.expand_to(weight, x) * unit for weight, unit in zip(weights, units, strict=True)),
        start=jnp.zeros_like(x),
    )
    return arrays.expand_to(size, x) * direction


def _norm(x: Sample) -> Float[jax.Array, " batch"]:
    """The norm of each sample, with gradient 0 at 0: that of equal vectors' chord."""
    square = arrays.sum_per_sample(x**2)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
