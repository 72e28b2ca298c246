"""SA-Solver: Adams' predictor and corrector for the reverse SDE, with as much noise as one likes."""

import itertools

import numpy as np
import numpy.typing as npt

from diffax.samplers import exponential, multistep
from diffax.samplers.exponential import Form, Increment, Point
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


def sa_solver(
    schedule: Schedule,
    times: npt.ArrayLike,
    *,
    predictor_order: int = 2,
    corrector_order: int = 2,
    tau: float | npt.ArrayLike = 1.0,
    form: str = "x_0",
    weights: str = "exact",
    lower_order_final: bool = True,
    to_zero: bool = False,
) -> SamplerTable:
    """Stochastic Adams methods (arXiv:2309.05019, algorithm 1), one evaluation a step.

    A predictor of order p interpolates the last p predictions, a corrector of order p the last p and its own among
    them; both of a step share their noise. tau = 0 is the ODE: with corrector_order 0 exponential Adams-Bashforth.

    Args:
      times: strictly decreasing; one row for each interval.
      corrector_order: 1 to 4, or 0 for no corrector.
      tau: how much of the process' own noise each step has, a number or one for each interval; the paper adds noise in
        the middle of sampling only.
      weights: "exact", or "published" for what the authors' code does in x_0: half of the step's slope where two
        predictions are interpolated (their "modification", of the same order).
      lower_order_final: orders ..., 2, 1 for the last steps.
      to_zero: a last row from times[-1] to pure data, for schedules that end at sigma_min.

    Raises:
      ValueError: orders not in 1..4 (0..4), fewer steps than the predictor's, a negative tau or not one per interval,
        an unknown form or weights, times not strictly decreasing.
    """
    multistep.check_order(predictor_order, (1, 2, 3, 4))
    multistep.check_order(corrector_order, (0, 1, 2, 3, 4))
    if weights not in ("exact", "published"):
        raise ValueError(f"weights must be 'exact' or 'published', got {weights!r}")
    interpolated = exponential.form_of(form)
    halved = weights == "published" and interpolated is Form.X_0
    schedule, points = exponential.points_of(schedule, times, to_zero=True)
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
    return multistep.corrected_table(name, schedule, points, predictors, correctors, to_zero=to_zero)


def _step(form: Form, nodes: tuple[float, ...], now: Point, after: Point, tau: float, halved: bool) -> Increment:
    if not halved or len(nodes) != 2 or exponential.is_singular(now, after):
        return exponential.increment(form, nodes, now, after, tau=tau)
    other = next(node for node in nodes if node != now.lam)
    scale = (1 + tau**2) * after.alpha * (after.lam - now.lam)
    return multistep.half_slope(form, other, now, after, scale=scale, tau=tau)


def _per_step(tau: float | npt.ArrayLike, steps: int) -> list[float]:
    tau = np.asarray(tau, float)
    if tau.shape not in ((), (steps,)) or not np.all(tau >= 0):
        raise ValueError(f"tau must be >= 0, a number or one for each of the {steps} intervals, got {tau}")
    return np.broadcast_to(tau, (steps,)).tolist()
