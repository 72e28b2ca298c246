"""The exact distribution of a sampler's result on Gaussian data, where the denoiser and the sampler are affine."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from diffax import arrays
from diffax.samplers.reference import reference_run
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


class GaussianLaw(NamedTuple):
    """Mean and variance of a sampler's result in each direction, (directions,), float64."""

    mean: np.ndarray
    variance: np.ndarray


def gaussian_law(
    table: SamplerTable,
    schedule: Schedule,
    mean: float | npt.ArrayLike,
    variance: float | npt.ArrayLike,
    *,
    start: GaussianLaw | None = None,
) -> GaussianLaw:
    """The exact distribution of a table's result when the data are N(mean, variance) and the denoiser is exact.

    Measures the discretization error of any table without Monte Carlo and without a network. Data with a full
    covariance can be analysed in the directions of its eigenvectors.

    Args:
      schedule: the noise schedule that the table was built on.
      mean, variance: of the data in independent directions, (directions,); numbers for one direction.
      start: the distribution of x at the table's first time; that of `prior` unless given.

    Raises:
      ValueError: a table with a learned variance.
    """
    mean, variance = np.broadcast_arrays(*(np.atleast_1d(np.asarray(value, float)) for value in (mean, variance)))
    schedule = arrays.in_float64(schedule)
    # A state is a vector of coefficients: of 1, the initial state's noise, the noise before row 0 and that of each row.
    basis = np.eye(table.num_evaluations + 3)
    constant, noises = basis[0], basis[3:]

    def halves(x: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
        alpha, sigma = float(schedule.alpha(np.float64(t))), float(schedule.sigma(np.float64(t)))
        shrunk = (x - np.outer(alpha * mean, constant)) / (alpha**2 * variance + sigma**2)[:, None]
        return np.outer(mean, constant) + alpha * variance[:, None] * shrunk, sigma * shrunk

    law = start or GaussianLaw(np.zeros(len(mean)), np.full(len(mean), table.prior_std**2))
    begin = np.outer(law.mean, constant) + np.outer(np.sqrt(law.variance), basis[1])
    begin = begin + (table.initial_noise or 0.0) * basis[2]
    end = reference_run(halves, table, begin, np.broadcast_to(noises[:, None], (len(noises), *begin.shape)))[-1]
    return GaussianLaw(end[:, 0], (end[:, 1:] ** 2).sum(1))
