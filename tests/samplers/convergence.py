"""How fast a deterministic table converges, on an exact mixture, against a solver that shares no code with it."""

import functools

import numpy as np

from diffax import samplers, schedules
from tests import checking
from tests.samplers.definition import mixture_halves

SCHEDULES = [schedules.Cosine(), schedules.VarianceExploding(0.02, 20.0), schedules.Flow()]


@functools.cache
def exact(schedule):
    """An exact denoiser in NumPy, points at t = 0.98, and where they end at t = 0.02."""
    halves = mixture_halves(schedule, [0.3, 0.3, 0.4], [[1.0, 0.5], [-1.0, 0.2], [0.3, -1.0]], [0.3, 0.4, 0.5])
    x = np.random.default_rng(0).normal(size=(8, 2)) * float(schedule.sigma(0.98))
    with checking.off():
        return halves, x, runge_kutta(schedule, halves, x, 3000)


def errors(schedule, table_of, steps):
    """The largest error at t = 0.02 from t = 0.98, against the same ODE solved by 3,000 steps of classical Runge-Kutta.

    Steps uniform in log-SNR, an exact denoiser, the tables run by their definition, in float64.
    """
    halves, x, reference = exact(schedule)

    def end(n):
        table = table_of(samplers.grids.log_snr(schedule, n, start=0.98, end=0.02))
        return samplers.reference_run(halves, table, x, None)[-1]

    ends = [end(steps[0])]
    with checking.off():
        ends += [end(n) for n in steps[1:]]
    return np.array([np.abs(end - reference).max() for end in ends])


def runge_kutta(schedule, halves, x, num_steps):
    """d(x / alpha) / d(sigma / alpha) = eps by Runge-Kutta 4 in log(sigma / alpha), sharing no code with the tables."""
    low, high = (float(-schedule.log_snr(t) / 2) for t in (0.02, 0.98))
    log_ratio = np.linspace(high, low, num_steps + 1)
    h = log_ratio[1] - log_ratio[0]

    def slope(z, u):
        t = schedule.t_of_log_snr(np.float64(-2 * u))
        return np.exp(u) * halves(z * float(schedule.alpha(t)), t)[1]

    z = x / float(schedule.alpha(0.98))
    for u in log_ratio[:-1]:
        k1 = slope(z, u)
        k2 = slope(z + h / 2 * k1, u + h / 2)
        k3 = slope(z + h / 2 * k2, u + h / 2)
        k4 = slope(z + h * k3, u + h)
        z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return z * float(schedule.alpha(0.02))


def slopes(schedule, table_of, steps):
    """The measured orders: log2 of the ratios of the errors at each halving of the step."""
    size = errors(schedule, table_of, steps)
    return np.log2(size[:-1] / size[1:])
