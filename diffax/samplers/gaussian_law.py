"""What a table makes of Gaussian data, in closed form: there every denoiser is affine, and so is every sampler."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from diffax.samplers.definition import by_definition
from diffax.samplers.table import SamplerTable, in_float64
from diffax.typing import Schedule


class GaussianLaw(NamedTuple):
    """Mean and variance of a table's result in each direction, (directions,), float64."""

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
    """The exact law of a table's result when the data are N(mean, variance) and the denoiser is exact.

    Tells the discretization error of any table with no Monte Carlo and no network. Data with a full covariance are the
    directions of its eigenvectors. The schedule gives alpha and sigma at the table's times.

    Args:
      mean, variance: of the data in independent directions, (directions,); numbers for one direction.
      start: the law of x at the table's first time; that of `prior` unless given.
    """
    mean, variance = np.broadcast_arrays(*(np.atleast_1d(np.asarray(value, float)) for value in (mean, variance)))
    schedule = in_float64(schedule)
    # A state is a vector of factors: of 1, of the start's noise, of the noise before row 0, and of that of every row.
    basis = np.eye(table.num_evaluations + 3)
    constant, noises = basis[0], basis[3:]

    def halves(x: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
        alpha, sigma = float(schedule.alpha(np.float64(t))), float(schedule.sigma(np.float64(t)))
        shrunk = (x - np.outer(alpha * mean, constant)) / (alpha**2 * variance + sigma**2)[:, None]
        return np.outer(mean, constant) + alpha * variance[:, None] * shrunk, sigma * shrunk

    law = start or GaussianLaw(np.zeros(len(mean)), np.full(len(mean), table.prior_std**2))
    begin = np.outer(law.mean, constant) + np.outer(np.sqrt(law.variance), basis[1])
    begin = begin + (table.initial_noise or 0.0) * basis[2]
    end = by_definition(table, halves, begin, np.broadcast_to(noises[:, None], (len(noises), *begin.shape)))[-1]
    return GaussianLaw(end[:, 0], (end[:, 1:] ** 2).sum(1))
