"""alpha-Flow, shortcut and consistency losses: right where the flow map is, and the published formulas in NumPy.

Evaluated eagerly: operations on 64 points are compiled once for all of the tests.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from diffax import denoisers, losses, processes, schedules
from diffax.losses import _alpha_flow, _consistency, _flow_map, _one_step, weighting
from diffax.processes import time_sampling
from tests.losses.test_flow_map import CASES, COVARIANCE, DENSITY, KEYS, MEAN, bump, exact_output

X_0 = np.random.default_rng(1).multivariate_normal(MEAN, COVARIANCE, len(KEYS))


def slope(loss, case, *, one_time=False, half_step=0.0, **options):
    """A function of the strength of a disturbance of the exact raw output: the mean loss's absolute derivative in it.

    one_time: the network's s is 0. half_step: where s = t, the flow map from t to t - half_step.
    """
    schedule, parameterization = CASES[case]
    mixture = denoisers.gaussian_mixture(schedule, [1.0], MEAN[None], COVARIANCE[None])
    exact = exact_output(schedule, parameterization, mixture)

    def value(strength):
        def predict(x_t, t, s=None, *, key=None):
            s = jnp.zeros_like(t) if one_time else jnp.where(s == t, t - half_step, s)
            return exact(x_t, t, s) + strength * bump(x_t, t, s)

        rules = {"weighting": weighting.Flow(), "time_density": DENSITY, "teacher": mixture}
        return loss(KEYS, predict, schedule, parameterization, jnp.asarray(X_0), **rules, **options).mean()

    derivative = jax.jit(lambda strength: jax.jvp(value, (strength,), (jnp.ones(()),))[1])
    return lambda strength: abs(float(derivative(jnp.asarray(strength))))


EXACT = {
    "alpha_flow": (losses.alpha_flow, {"share": 1.0, "adaptive": 0.0}),
    "shortcut": (losses.shortcut, {"share": 1.0, "num_steps": 16, "half_step": 1 / 16}),
    "continuous_consistency": (losses.continuous_consistency, {"one_time": True}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", EXACT)
def test_the_minimum_is_at_the_exact_flow_map(name, case, x64):
    loss, options = EXACT[name]
    at = slope(loss, case, **options)
    assert at(0.0) < 1e-12 and at(0.1) > 1e-2


@pytest.mark.parametrize("case", CASES)
def test_a_generator_of_two_times_goes_from_noise_to_data(case, x64):
    """One evaluation of the exact flow map of a Gaussian, which is affine, from t = 1 to 0, as DDIM steps."""
    schedule, parameterization = CASES[case]
    mixture = denoisers.gaussian_mixture(schedule, [1.0], MEAN[None], COVARIANCE[None])
    exact = exact_output(schedule, parameterization, mixture)

    def predict(x_t, t, s=None, *, key=None):
        return exact(x_t, t, s)

    eps = np.random.default_rng(2).standard_normal(X_0.shape)
    x_0 = _one_step.generated(
        KEYS, predict, schedule, parameterization, jnp.asarray(X_0), jnp.asarray(eps), two_times=True
    )
    (alpha, last_alpha), (sigma, last_sigma) = (
        [float(of(time)) for time in (1.0, 0.0)] for of in (schedule.alpha, schedule.sigma)
    )
    root, last_root = (
        scipy.linalg.sqrtm(a**2 * COVARIANCE + s**2 * np.eye(len(MEAN)))
        for a, s in ((alpha, sigma), (last_alpha, last_sigma))
    )
    expected = last_alpha * MEAN + (sigma * eps - alpha * MEAN) @ np.linalg.inv(root) @ last_root
    ddim = last_alpha * x_0 + last_sigma * (sigma * eps - alpha * x_0) / sigma
    np.testing.assert_allclose(ddim, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_what_the_error_of_a_finite_step_is(case, x64):
    """The derivative at the exact flow map is of the order of the target's own step, and so vanishes with it."""
    levels = {"one_time": True, "first_intervals": 100, "last_intervals": 800, "huber": 1.0}
    euler, heun = (
        [slope(losses.consistency, case, progress=at, solver=solver, **levels) for at in (0.6, 1.0)]
        for solver in ("euler", "heun")
    )
    assert 1.7 < euler[0](0.0) / euler[1](0.0) < 2.3 and 3.4 < heun[0](0.0) / heun[1](0.0) < 4.6
    assert slope(losses.consistency, case, **levels)(0.1) > 100 * heun[1](0.0)
    # The half steps of the finest grid are Euler's.
    steps = [slope(losses.shortcut, case, share=1.0, num_steps=num)(0.0) for num in (64, 128)]
    assert steps[1] < 0.7 * steps[0]


class Linear:
    """A network w x + b (t - s), and the first arguments it is called with."""

    def __init__(self, b=0.3):
        self.b, self.calls = b, []

    def predict(self, w):
        def predict(x, t, s=None, *, key=None):
            s = jnp.zeros_like(t) if s is None else s
            self.calls.append([np.asarray(v) for v in (x, t, s) if not isinstance(v, jax.core.Tracer)])
            return w * x + self.b * (t - s)[:, None]

        return predict

    def __call__(self, w, x, t, s):
        return w * x + self.b * (t - s)[:, None]


def gradient_of(loss, network, case="flow", weight=None, w=0.7, **options):
    """The derivative of the mean loss in w."""
    schedule, parameterization = CASES[case]
    rules = {"weighting": weight or weighting.Flow(), "time_density": DENSITY}

    def value(w):
        return loss(KEYS, network.predict(w), schedule, parameterization, jnp.asarray(X_0), **rules, **options).mean()

    return jax.jvp(value, (jnp.asarray(w),), (jnp.ones(()),))


def flow_pair(x_t, t):
    """(eps, v) of points of the flow schedule."""
    eps = (x_t - (1 - t)[:, None] * X_0) / t[:, None]
    return eps, eps - X_0


def test_alpha_flow_tends_to_the_flow_map_as_alpha_does_to_zero(x64):
    found = [
        slope(losses.alpha_flow, "flow", share=1.0, adaptive=0.0, clamp=0.0, progress=0.5 + np.log(x - 1) / 25)(0.0)
        for x in (50, 100)  # 1 / alpha
    ]
    assert 1.8 < found[0] / found[1] < 2.2


@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_alpha_flow_has_the_gradient_of_the_paper(alpha, x64):
    """arXiv:2510.20771: the target alpha v + (1 - alpha) u(x_m, m, s), weight alpha / (|error|^2 + 1e-3)."""
    network, w = Linear(), 0.7
    progress = 0.0 if alpha == 1 else 0.5 + np.log(1 / alpha - 1) / 25
    _, slope = gradient_of(losses.alpha_flow, network, w=w, progress=progress)
    x_t, t, s = network.calls[0]
    _, v = flow_pair(x_t, t)
    has_two, size = s < t, (t - s)[:, None]
    assert 0.3 < has_two.mean() < 0.7
    m = alpha * s + (1 - alpha) * t
    target = alpha * v + (1 - alpha) * network(w, x_t - alpha * size * v, m, s)
    error = network(w, x_t, t, s) - np.where(has_two[:, None], target, v)
    scale = np.where(has_two, alpha, 1) / ((error**2).mean(1) + 1e-3)
    np.testing.assert_allclose(slope, np.mean(scale * (2 * error * x_t).mean(1)), rtol=1e-9)


def test_the_curriculum_of_alpha_flow():
    """A sigmoid of temperature 25 that is 0 and 1 where it is nearer than 0.005 to them; MeanFlow before the end."""
    options = {"start": 0.2, "end": 0.8, "temperature": 25.0, "clamp": 0.005}
    progress = np.linspace(0, 1, 101)
    found = _alpha_flow.step_ratio(jnp.asarray(progress), **options)
    expected = scipy.special.expit(-25 * (progress - 0.5) / 0.6)
    expected = np.where(expected < 0.005, 0, np.where(expected > 0.995, 1, expected))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found[50] == 0.5 and found[30] == 1 and found[70] == 0 and 0 < found[62] < 0.01
    with pytest.raises(ValueError, match=r"needs 0 <= start < end <= 1, got 0.5 and 0.5"):
        _alpha_flow.step_ratio(0.0, **options | {"start": 0.5, "end": 0.5})


def test_shortcut_has_the_target_of_the_paper(x64):
    """arXiv:2410.12557: dyadic steps on their grid, the mean of the velocities of two half steps, flow matching."""
    network, w, num_steps = Linear(), 0.7, 8
    value, slope = gradient_of(losses.shortcut, network, w=w, share=0.5, num_steps=num_steps)
    (x_t, t, s), (_, _, told), _ = network.calls
    _, v = flow_pair(x_t, t)
    size = t - s
    has_step = size > 0
    assert 0.3 < has_step.mean() < 0.7 and set(np.round(size[has_step], 9)) == {0.25, 0.5, 1.0}
    np.testing.assert_allclose(t[has_step] / size[has_step], np.round(t[has_step] / size[has_step]), atol=1e-12)
    # The finest half steps are told that they have no size.
    finest = size == 2 / num_steps
    assert (told[finest] == t[finest]).all() and np.allclose((told - t + size / 2)[has_step & ~finest], 0)
    span = np.where(finest, 0, size / 2)
    first = w * x_t + network.b * span[:, None]
    second = w * (x_t - size[:, None] / 2 * first) + network.b * span[:, None]
    target = np.where(has_step[:, None], (first + second) / 2, v)
    error = network(w, x_t, t, s) - target
    np.testing.assert_allclose(value, np.mean(error**2), rtol=1e-9)
    np.testing.assert_allclose(slope, np.mean(2 * error * x_t), rtol=1e-9)
    with pytest.raises(ValueError, match=r"loss.num_steps must be a power of 2 and at least 2, got 12"):
        gradient_of(losses.shortcut, Linear(), num_steps=12)


@pytest.mark.parametrize(("tangent", "progress"), [("normalized", 0.02), ("clipped", 1.0)])
def test_continuous_consistency_has_the_tangent_of_the_paper(tangent, progress, x64):
    """arXiv:2410.11081, algorithm 1, with its angle pi t / 2: g = -cos^2 (F - v) - r cos sin (x + dF/dangle)."""
    network, w = Linear(), 0.7
    options = {"tangent": tangent, "progress": progress, "warmup": 0.05}
    _, slope = gradient_of(losses.continuous_consistency, network, "cosine_v", weighting.Velocity(), w, **options)
    # Called with tracers of the derivative: the draws are those of the loss's keys.
    at = losses._loss.noised(KEYS, schedules.Cosine(), jnp.asarray(X_0), DENSITY)
    x_t, eps, angle = np.asarray(at.x_t), np.asarray(at.eps), np.pi / 2 * np.asarray(at.t)[:, None]
    cos, sin, r = np.cos(angle), np.sin(angle), min(1.0, progress / 0.05)
    v = cos * eps - sin * X_0
    output = network(w, x_t, np.asarray(at.t), 0 * np.asarray(at.t))
    along = w * v + network.b * 2 / np.pi
    g = -(cos**2) * (output - v) - r * cos * sin * (x_t + along)
    g = np.clip(g, -1, 1) if tangent == "clipped" else g / (np.sqrt((g**2).mean(1, keepdims=True)) + 0.1)
    np.testing.assert_allclose(slope, np.mean(-2 * g * x_t), rtol=1e-7)


def test_the_intervals_of_consistency_training_are_those_of_the_paper(x64):
    """arXiv:2310.14189, table 1: N(k), EDM's levels, and the lognormal distribution on them."""
    for step in (0, 49_999, 50_000, 199_999, 350_000, 399_999):
        expected = min(10 * 2 ** (step // (400_000 // 8)), 1280)
        assert float(_consistency.num_intervals(step / 400_000, 10, 1280)) == expected
    assert float(_consistency.num_intervals(1.0, 10, 1280)) == 1280
    assert float(_consistency.num_intervals(0.3, 18, 18)) == 18  # as arXiv:2303.01469 distills
    with pytest.raises(ValueError, match=r"needs 1 <= first_intervals <= last_intervals, got 20 and 10"):
        _consistency.num_intervals(0.0, 20, 10)

    schedule, num = schedules.VarianceExploding(0.002, 80.0), 10
    ends = (0.002 ** (1 / 7) + np.arange(num + 1) / num * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7
    u = (jnp.arange(20_000.0) + 0.5) / 20_000
    t = time_sampling.LogNormalSigma(-1.1, 2.0).quantile(schedule, u)
    found = _consistency.interval_of(schedule, t, jnp.asarray(float(num)))
    index = np.searchsorted(ends, np.asarray(found.ratio_t) * (1 + 1e-9)) - 2
    np.testing.assert_allclose(found.ratio_t, ends[index + 1], rtol=1e-9)
    np.testing.assert_allclose(found.ratio_m, ends[index], rtol=1e-9)
    np.testing.assert_allclose(schedule.sigma(found.t), found.ratio_t, rtol=1e-9)
    # What lies beyond the ends, 0.5% and 0.3%, is in the outermost intervals.
    between = scipy.special.erf((np.log(ends[1:-1]) + 1.1) / (np.sqrt(2) * 2))
    mass = np.diff(np.concatenate([[-1.0], between, [1.0]])) / 2
    np.testing.assert_allclose(np.bincount(index, minlength=num) / len(index), mass, atol=1e-4)
    assert (np.asarray(found.m)[index == 0] == 0).all() and (np.asarray(found.m)[index > 0] > 0).all()


def test_consistency_has_the_distance_of_the_paper(x64):
    """arXiv:2310.14189: the pseudo-Huber distance over the difference of the levels; no gradient of the target."""
    network, w = Linear(b=0.0), 0.7
    value, slope = gradient_of(losses.consistency, network, w=w, first_intervals=20, last_intervals=20)
    (x_t, t, _), (x_m, m, _) = network.calls
    eps, _ = flow_pair(x_t, t)
    np.testing.assert_allclose(x_m, (1 - m)[:, None] * X_0 + m[:, None] * eps, rtol=1e-9)
    np.testing.assert_array_equal(x_m[m == 0], X_0[m == 0])
    difference = (x_t - t[:, None] * w * x_t) - (x_m - m[:, None] * w * x_m)
    c = 0.00054 * np.sqrt(2)
    root = np.sqrt((difference**2).sum(1) + c**2)
    levels = t / (1 - t) - m / (1 - m)
    lowest = m == 0
    levels = np.where(lowest, t / (1 - t), levels)
    np.testing.assert_allclose(value, np.mean((root - c) / levels), rtol=1e-6)
    down = (difference * -t[:, None] * x_t).sum(1) / root / levels
    np.testing.assert_allclose(slope, np.mean(down), rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_the_flow_map_from_data_is_the_identity(case, x64):
    """The boundary condition of consistency models, by parameterization: whatever the raw output is."""
    schedule, parameterization = CASES[case]
    net_out, zero = jnp.full(X_0.shape, 3.0), jnp.zeros(len(X_0))
    found = _flow_map.mapped(schedule, parameterization, net_out, jnp.asarray(X_0), zero, zero)
    np.testing.assert_allclose(found, X_0, rtol=1e-15, atol=1e-15)
    x_0 = _flow_map.mapped(schedules.Flow(), processes.X0(), net_out, jnp.asarray(X_0), zero, zero)
    assert not np.allclose(x_0, X_0)  # refused by build_training.check_flow_map
