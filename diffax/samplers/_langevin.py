"""Langevin dynamics: unadjusted, annealed over noise levels, and as the corrector of a predictor-corrector sampler.

States are computed and returned in float32, or in float64 where x is.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from diffax import arrays
from diffax.samplers.table import SamplerTable, check_times
from diffax.typing import Array, Denoiser, Keys, Numeric, Schedule

Sample = Float[jax.Array, "batch *dims"]
Score = Callable[[Sample], Sample]


def langevin(keys: Keys, score: Score, x: Sample, *, step_size: Numeric, num_steps: int) -> Sample:
    """Unadjusted Langevin dynamics: num_steps updates x <- x + step_size score(x) + sqrt(2 step_size) z.

    arXiv:1907.05600, eq. 4, with step_size = epsilon / 2. The stationary distribution differs by O(step_size) from the
    density that the score belongs to; there is no Metropolis correction. Sample i depends on x[i] and keys[i] alone.

    Args:
      keys: (batch,) typed keys, one per sample.
      score: maps x to the gradient of the log density, both (batch, *dims).
      x: the initial state of the chains.

    Raises:
      ValueError: num_steps < 1, keys not one per sample.
    """
    x = _checked(keys, x, num_steps)

    def step(x: Sample, row: jax.Array) -> tuple[Sample, None]:
        return _moved(x, score(x), step_size, _noise(keys, row, 0, x)), None

    return jax.lax.scan(step, x, jnp.arange(num_steps))[0]


def annealed_langevin(
    keys: Keys,
    denoiser: Denoiser,
    schedule: Schedule,
    x: Sample,
    times: npt.ArrayLike,
    *,
    step_size: Numeric,
    steps_per_time: int,
    denoise: bool = True,
) -> Sample:
    """Annealed Langevin dynamics, at a decreasing sequence of noise levels (arXiv:1907.05600, algorithm 1).

    The step size at time t is step_size sigma_t^2. As the score is of size 1 / sigma_t, each step then moves x by the
    same fraction of the noise at every level.

    Args:
      keys: (batch,) typed keys, one per sample.
      x: the state at times[0].
      times: strictly decreasing.
      step_size: in units of sigma_t^2; epsilon / (2 sigma_L^2) in the paper.
      denoise: ends with the predicted x_0 at the last time, which removes the remaining noise (arXiv:2009.05475).

    Raises:
      ValueError: times not strictly decreasing in [0, 1], steps_per_time < 1, keys not one per sample.
    """
    times = check_times(times, decreasing=True)
    x = _checked(keys, x, steps_per_time)

    def level(x: Sample, row: tuple[jax.Array, jax.Array]) -> tuple[Sample, None]:
        t, index = row
        size = step_size * jnp.asarray(schedule.sigma(t), x.dtype) ** 2

        def step(x: Sample, inner: jax.Array) -> tuple[Sample, None]:
            return _moved(x, _score(denoiser, schedule, x, t), size, _noise(keys, index, inner, x)), None

        return jax.lax.scan(step, x, jnp.arange(steps_per_time))[0], None

    grid = jnp.asarray(times, x.dtype)
    x, _ = jax.lax.scan(level, x, (grid, jnp.arange(len(times))))
    return denoiser(x, grid[-1]).x_0.astype(x.dtype) if denoise else x


def predictor_corrector(
    keys: Keys,
    denoiser: Denoiser,
    schedule: Schedule,
    table: SamplerTable,
    x: Sample,
    *,
    end: Numeric = 0.0,
    snr: Numeric = 0.16,
    corrections: int = 1,
) -> Sample:
    """Predictor-corrector sampling: after every row of a table, Langevin steps at the time that the row leads to.

    arXiv:2011.13456, algorithms 2 to 5. A correction is x + d s + sqrt(2 d) z with the score s and
    d = 2 (snr |z| / |s|)^2, the norms taken per sample, which makes the drift `snr` times as large as the noise. In few
    dimensions |s| can be near 0 by chance, and the step size is then unbounded; use it for samples of many numbers.
    There is no correction where sigma = 0. The cost is 1 + corrections evaluations per row.

    Args:
      keys: (batch,) typed keys, one per sample.
      table: of a one-step sampler with query = anchor, such as ddpm, ddim or euler_maruyama.
      x: the state at the table's first time.
      end: the time that the last row leads to.
      snr: the signal-to-noise ratio of a correction step.
      corrections: the number of Langevin steps after each row.

    Raises:
      ValueError: a multistep or singlestep table or one with a learned variance, corrections < 1, keys not one per
        sample.
    """
    x = _checked(keys, x, corrections)
    has_history = any(column is not None and column.shape[-1] > 1 for column in (table.b, table.e))
    if has_history or table.p is not None or table.c_large is not None:
        raise ValueError(f"predictor_corrector needs the table of a one-step sampler such as ddpm, got {table.name}")
    zeros = np.zeros(table.num_evaluations)
    a, c = (zeros if column is None else column for column in (table.a, table.c))
    b, e = (zeros if column is None else column[:, 0] for column in (table.b, table.e))
    after = np.append(np.asarray(table.times)[1:], end)
    rows = tuple(jnp.asarray(column, x.dtype) for column in (table.times, after, a, b, e, c))

    def step(x: Sample, row: tuple[tuple[jax.Array, ...], jax.Array]) -> tuple[Sample, None]:
        (now, then, a, b, e, c), index = row
        x_0, eps = (half.astype(x.dtype) for half in denoiser(x, now)[:2])
        x = a * x + b * x_0 + e * eps + c * _noise(keys, index, 0, x)
        return jax.lax.fori_loop(0, corrections, lambda k, x: corrected(x, then, index, k + 1), x), None

    def corrected(x: Sample, t: jax.Array, index: jax.Array, inner: jax.Array) -> Sample:
        noise, score = _noise(keys, index, inner, x), _score(denoiser, schedule, x, t)
        size = 2 * (snr * _norm(noise) / jnp.maximum(_norm(score), 1e-12)) ** 2
        return jnp.where(jnp.asarray(schedule.sigma(t)) > 0, _moved(x, score, size, noise), x)

    return jax.lax.scan(step, x, (rows, jnp.arange(table.num_evaluations)))[0]


def _score(denoiser: Denoiser, schedule: Schedule, x: Sample, t: jax.Array) -> Sample:
    """The score -eps / sigma; 0 where sigma = 0."""
    sigma = jnp.asarray(schedule.sigma(t), x.dtype)
    return jnp.where(sigma > 0, -denoiser(x, t).eps.astype(x.dtype) / jnp.where(sigma > 0, sigma, 1), 0)


def _moved(x: Sample, score: Sample, step_size: Array | float, noise: Sample) -> Sample:
    """One Langevin step."""
    size = arrays.expand_to(jnp.asarray(step_size, x.dtype), x)
    return x + size * score.astype(x.dtype) + jnp.sqrt(2 * size) * noise


def _norm(x: Sample) -> Float[jax.Array, " batch"]:
    return jnp.sqrt(arrays.sum_per_sample(x**2))


def _noise(keys: Keys, row: jax.Array, inner: jax.Array | int, x: Sample) -> Sample:
    """Independent noise for every row and every step within it."""
    folded = jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, row), inner))(keys)
    return arrays.normal_like(folded, x)


def _checked(keys: Keys, x: Sample, num_steps: int) -> Sample:
    """x in float32 or float64."""
    if num_steps < 1:
        raise ValueError(f"expected at least one step, got {num_steps}")
    arrays.check_keys(keys, x.shape[:1])
    return arrays.at_least_float32(x)
