"""SA-Solver: stochastic Adams predictor-corrector methods for the reverse SDE (arXiv:2309.05019)."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from diffax.samplers import exponential, multistep
from diffax.samplers.exponential import Increment, Interpolated, Point
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


def sa_solver(
    schedule: Schedule,
    times: npt.ArrayLike,
    *,
    predictor_order: int = 2,
    corrector_order: int = 2,
    tau: float | Sequence[float] | np.ndarray = 1.0,
    predict: str = "x_0",
    weights: str = "exact",
    lower_order_final: bool = True,
) -> SamplerTable:
    """SA-Solver: stochastic Adams predictor-corrector methods (arXiv:2309.05019, algorithm 1), one evaluation per step.

    A predictor of order p interpolates the last p predictions. A corrector of order p interpolates p predictions, the
    one at the end of its own step among them. Both share the noise of the step. tau = 0 is the ODE, and with
    corrector_order 0 exponential Adams-Bashforth.

    Args:
      times: strictly decreasing; one row for each interval.
      corrector_order: 1 to 4, or 0 for no corrector.
      tau: the noise level of the reverse SDE relative to the process itself, one number or one for each interval. The
        paper adds noise in the middle of sampling only.
      predict: the prediction that is interpolated, "x_0" or "eps".
      weights: "exact"; or "published" for those of the authors' code in x_0, which simplifies steps with two
        predictions to half of the slope (their "modification", of the same order).
      lower_order_final: lowers the order of the last steps to ..., 2, 1.

    Raises:
      ValueError: a predictor_order not in 1..4, a corrector_order not in 0..4, fewer steps than the predictor's order,
        a negative tau or not one per interval, an unknown predict or weights, times not strictly decreasing in [0, 1].
    """
    multistep.check_order(predictor_order, (1, 2, 3, 4))
    multistep.check_order(corrector_order, (0, 1, 2, 3, 4))
    if weights not in ("exact", "published"):
        raise ValueError(f"weights must be 'exact' or 'published', got {weights!r}")
    interpolated = exponential.interpolated_of(predict)
    halved = weights == "published" and interpolated is Interpolated.X_0
    schedule, points = exponential.points_of(schedule, times, decreasing=True)
    steps = len(points) - 1
    taus = _per_step(tau, steps)
    orders = multistep.orders_of(predictor_order, steps, lower_order_final=lower_order_final)
    predictors, correctors = [], []
    for j, (now, after) in enumerate(itertools.pairwise(points)):
        nodes = multistep.nodes(points, j, orders[j])
        predictors.append(_step(interpolated, nodes, now, after, taus[j], halved))
        corrector = None
        if corrector_order > 0 and not exponential.is_singular(now, after):
            usable = min(corrector_order, steps - j + 1) if lower_order_final else corrector_order
            nodes = (after.lam, *multistep.nodes(points, j, usable - 1)) if usable > 1 else (after.lam,)
            corrector = _step(interpolated, nodes, now, after, taus[j], halved)
        correctors.append(corrector)
    name = f"SA-Solver({predictor_order}, {corrector_order}, tau={np.max(taus):g})"
    return multistep.corrected_table(name, schedule, points, predictors, correctors)


def _step(
    interpolated: Interpolated, nodes: tuple[float, ...], now: Point, after: Point, tau: float, halved: bool
) -> Increment:
    if not halved or len(nodes) != 2 or exponential.is_singular(now, after):
        return exponential.increment(interpolated, nodes, now, after, tau=tau)
    other = next(node for node in nodes if node != now.lam)
    scale = (1 + tau**2) * after.alpha * (after.lam - now.lam)
    return multistep.half_slope(interpolated, other, now, after, scale=scale, tau=tau)


def _per_step(tau: float | Sequence[float] | np.ndarray, steps: int) -> list[float]:
    tau = np.asarray(tau, float)
    if tau.shape not in ((), (steps,)) or not np.all(tau >= 0):
        raise ValueError(f"tau must be >= 0, a number or one for each of the {steps} intervals, got {tau}")
    return np.broadcast_to(tau, (steps,)).tolist()
