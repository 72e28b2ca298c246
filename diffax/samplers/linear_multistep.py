"""Linear multistep methods for d(x / alpha) / d(sigma / alpha) = eps: LMS, iPNDM and PNDM (PLMS)."""

import itertools

import numpy as np
import numpy.typing as npt

from diffax.samplers import exponential, multistep
from diffax.samplers.exponential import Increment, Point
from diffax.samplers.rows import Row, query_row, row_of, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule

# Adams-Bashforth weights for equal steps, newest prediction first.
ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)  # exact for polynomials up to degree 15


def lms(schedule: Schedule, times: npt.ArrayLike, *, order: int = 4) -> SamplerTable:
    """LMS: Adams-Bashforth in sigma / alpha with the exact weights of unequal steps; one evaluation per step.

    This is LMS of k-diffusion and rhoAB of DEIS (arXiv:2204.13902). The first steps have orders 1, 2, ....

    Args:
      times: strictly monotone; one row for each interval.
      order: 1 (DDIM) to 4.

    Raises:
      ValueError: an order not in 1..4, fewer steps than the order, times not strictly monotone in [0, 1].
    """
    multistep.check_order(order, (1, 2, 3, 4))
    schedule, points = exponential.points_of(schedule, times)
    orders = multistep.orders_of(order, len(points) - 1, lower_order_final=False)
    rows = []
    for j, (now, after) in enumerate(itertools.pairwise(points)):
        ratios = [_ratio(at) for at in points[max(0, j + 1 - orders[j]) : j + 1][::-1] if at.alpha > 0]
        rows.append(row_of(now.t, _transfer(now, after, _exact_shares(ratios, now, after))))
    return table_of(f"LMS{order}", schedule, rows)


def ipndm(schedule: Schedule, times: npt.ArrayLike, *, order: int = 4) -> SamplerTable:
    """iPNDM: DDIM steps whose eps is the Adams-Bashforth mean of the last predictions (arXiv:2202.09778).

    The weights are those of steps that are equal in sigma / alpha; on any other grid the order is 1 to 2. One
    evaluation per step. The first steps have orders 1, 2, ....

    Args:
      times: strictly monotone; one row for each interval.
      order: 1 (DDIM) to 4.

    Raises:
      ValueError: an order not in 1..4, fewer steps than the order, times not strictly monotone in [0, 1].
    """
    multistep.check_order(order, (1, 2, 3, 4))
    schedule, points = exponential.points_of(schedule, times)
    orders = multistep.orders_of(order, len(points) - 1, lower_order_final=False)
    rows = [
        row_of(now.t, _transfer(now, after, ADAMS_BASHFORTH[orders[j]]))
        for j, (now, after) in enumerate(itertools.pairwise(points))
    ]
    return table_of(f"iPNDM{order}", schedule, rows)


def pndm(schedule: Schedule, times: npt.ArrayLike) -> SamplerTable:
    """PNDM in its PLMS form: iPNDM of order 4 after a first step of Heun's method.

    arXiv:2202.09778, algorithm 2, without its Runge-Kutta start. The first step is repeated with the mean of the eps
    at both its ends. Therefore the second time is evaluated twice, and there is one evaluation more than intervals.

    Args:
      times: strictly monotone, at least three.

    Raises:
      ValueError: fewer than 2 steps, times not strictly monotone in [0, 1].
    """
    schedule, points = exponential.points_of(schedule, times)
    if len(points) < 3:
        raise ValueError(f"PNDM needs at least 2 steps, got {len(points) - 1}")
    start, second, *_ = points
    rows: list[Row] = [query_row(start.t, _transfer(start, second, (1.0,)))]
    # The eps of this row is evaluated at a first guess, so it does not enter the history.
    rows.append(row_of(second.t, _transfer(start, second, (1 / 2, 1 / 2)), push=False))
    for j, (now, after) in enumerate(itertools.pairwise(points[1:]), start=1):
        rows.append(row_of(now.t, _transfer(now, after, ADAMS_BASHFORTH[min(4, j + 1)])))
    return table_of("PNDM", schedule, rows)


def _transfer(now: Point, after: Point, shares: tuple[float, ...]) -> Increment:
    """A DDIM step with a weighted mean of several eps predictions."""
    if now.alpha == 0:
        return exponential.increment(exponential.Interpolated.EPS, (now.lam,), now, after)
    keep = after.alpha / now.alpha
    return Increment(keep, (), tuple((after.sigma - keep * now.sigma) * share for share in shares))


def _exact_shares(ratios: list[float], now: Point, after: Point) -> tuple[float, ...]:
    """The means over the step of the Lagrange polynomials in sigma / alpha with nodes `ratios`, newest first."""
    if now.alpha == 0 or after.alpha == 0:
        return (1.0,)
    start, end = _ratio(now), _ratio(after)
    at = start + (end - start) * (1 + _NODES) / 2
    basis = [np.prod([(at - other) / (node - other) for other in ratios if other != node], axis=0) for node in ratios]
    return tuple(float(np.sum(_WEIGHTS / 2 * polynomial)) for polynomial in basis)


def _ratio(at: Point) -> float:
    return at.sigma / at.alpha
