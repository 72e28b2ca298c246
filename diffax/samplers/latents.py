"""From data to the noise they come from, and between latents.

Any deterministic table on increasing times inverts, to the accuracy of its order: run(ddim(schedule, rising), ...).
`invert` undoes DDIM's steps to rounding. An edit is an inversion under one denoiser and a run under another; SDEdit
(arXiv:2108.01073) is processes.diffuse to a time in the middle and a table from there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy.typing as npt
from jaxtyping import Float

from diffax import arrays
from diffax.samplers.table import check_times, in_float64
from diffax.typing import Denoiser, Numeric, Schedule

Sample = Float[jax.Array, "batch *dims"]


class Inversion(NamedTuple):
    """The state at the last time; how far the last sweep still moved it, (batch,), the worst over all steps."""

    x: Sample
    residual: Float[jax.Array, " batch"]


def invert(schedule: Schedule, times: npt.ArrayLike, denoiser: Denoiser, x: Sample, *, sweeps: int = 10) -> Inversion:
    """The x_t from which ddim(schedule, times[::-1]) comes back to x, by fixed-point iteration at every step.

    A step of DDIM down, x_s = (alpha_s / alpha_t) x_t + (sigma_s - alpha_s sigma_t / alpha_t) eps(x_t, t), is solved
    for x_t by putting eps at the last guess in (arXiv:2309.04907, section 4.1), beginning with eps at (x_s, s): each
    sweep gains a factor of the step's size. Costs sweeps evaluations a step, and one at the beginning.

    Args:
      x: at times[0]; data where that is 0.
      times: strictly increasing; the last below pure noise, from which every step comes back alike.

    Raises:
      ValueError: times not strictly increasing, alpha = 0 at the last, sweeps < 1.
    """
    exact, times = in_float64(schedule), check_times(times, decreasing=False)
    alpha, sigma = exact.alpha(times), exact.sigma(times)
    if alpha[-1] == 0:
        raise ValueError(f"nothing can be inverted to pure noise (alpha = 0): end below t = {times[-1]:g}")
    if sweeps < 1:
        raise ValueError(f"sweeps must be >= 1, got {sweeps}")
    ratio = alpha[1:] / alpha[:-1]
    columns = (times[1:], ratio, sigma[1:] - ratio * sigma[:-1])
    start = denoiser(x, jnp.asarray(times[0], x.dtype)).eps

    def step(carry: tuple[Sample, Sample], row: tuple[jax.Array, ...]) -> tuple[tuple[Sample, Sample], jax.Array]:
        (x_s, eps), (t, kept, added) = carry, row

        def sweep(_: int | jax.Array, state: tuple[Sample, Sample, Sample]) -> tuple[Sample, Sample, Sample]:
            now = state[1]
            eps = denoiser(now, t).eps
            return now, kept * x_s + added * eps, eps

        first = kept * x_s + added * eps
        before, now, eps = jax.lax.fori_loop(0, sweeps, sweep, (x_s, first, eps))
        return (now, eps), jnp.max(jnp.abs(now - before).reshape(x.shape[0], -1), axis=1)

    rows = tuple(jnp.asarray(column, x.dtype) for column in columns)
    (end, _), residuals = jax.lax.scan(step, (x, start), rows)
    return Inversion(end, residuals.max(axis=0))


def lerp(x: Sample, y: Sample, share: Numeric) -> Sample:
    """(1 - share) x + share y; share a number or one for each sample."""
    share = arrays.expand_to(share, x)
    return (1 - share) * x + share * y


def slerp(x: Sample, y: Sample, share: Numeric) -> Sample:
    """Along the great circle from x to y, sample by sample: noise of the norm that noise has (arXiv:1609.04468).

    The norm goes evenly from one to the other. Nearly parallel samples are interpolated linearly.
    """
    sizes = [jnp.sqrt(arrays.sum_per_sample(value**2)) for value in (x, y)]
    units = [
        value / arrays.expand_to(jnp.maximum(size, 1e-12), value) for value, size in zip((x, y), sizes, strict=True)
    ]
    # From both chords: exact where the angle is small, as arccos is not.
    half = [jnp.sqrt(arrays.sum_per_sample((units[0] + sign * units[1]) ** 2)) for sign in (-1, 1)]
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
