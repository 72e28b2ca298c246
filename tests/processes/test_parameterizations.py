"""Every parameterization on every schedule: targets, round trips, the relation between errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import processes, schedules
from tests.cases import EPS, PARAMETERIZATIONS, SCHEDULES

RNG = np.random.default_rng(0)
GRID = np.concatenate([[0.0], np.geomspace(1e-4, 0.5, 12), 1 - np.geomspace(0.5, 1e-6, 12)[1:], [1.0]])
X_0, NOISE = RNG.normal(size=(2, len(GRID), 3, 2)).astype(np.float32)


def expand(a):
    return np.asarray(a, np.float64)[:, None, None]


def target_by_the_papers(name, alpha, sigma, x_0, eps):
    sd = PARAMETERIZATIONS["edm"].sigma_data
    with np.errstate(divide="ignore"):
        return {
            "eps": eps,
            "x_0": x_0,
            "v": alpha * eps - sigma * x_0,
            "flow": eps - x_0,
            "score": -eps / sigma,
            # D = c_skip x + c_out F with x scaled to alpha = 1, so that F = (x_0 - c_skip x / alpha) / c_out.
            "edm": (sigma * x_0 / sd - alpha * sd * eps) / np.sqrt(sigma**2 + alpha**2 * sd**2),
        }[name]


@jax.jit
def all_there_and_back(parameterizations, schedule, x_0, eps, t):
    """Name to (target, prediction from the target) of every parameterization, in one program."""
    x_t = processes.diffuse(schedule, x_0, eps, t)
    targets = {name: p.target(schedule, x_0, eps, t) for name, p in parameterizations.items()}
    return {name: (targets[name], p.predict(schedule, targets[name], x_t, t)) for name, p in parameterizations.items()}


@functools.cache
def there_and_back(schedule_name):
    return all_there_and_back(PARAMETERIZATIONS, SCHEDULES[schedule_name], X_0, NOISE, GRID.astype(np.float32))


def tolerances(name, alpha, sigma):
    """What float32 may cost (x_0, eps) of a round trip.

    Both halves are sums of a few terms, each off by EPS of its size, and alpha, sigma and x_t by 8 (tests/schedules):
    in all 16 EPS (alpha + sigma) times the largest |x_0| or |eps|, divided by what the parameterization divides by.
    """
    error = 16 * EPS * np.abs([X_0, NOISE]).max() * (alpha + sigma)
    none = np.full_like(alpha, 16 * EPS)
    regular = error / np.hypot(alpha, sigma)
    with np.errstate(divide="ignore"):
        return {"eps": (error / alpha, none), "score": (error / alpha, none), "x_0": (none, error / sigma)}.get(
            name, (regular, regular)
        )


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
@pytest.mark.parametrize("schedule_name", sorted(SCHEDULES))
def test_prediction_to_target_to_prediction(name, schedule_name):
    """v, flow and EDM at every t, both ends included; eps, score and x_0 wherever they do not divide by 0."""
    schedule, t = SCHEDULES[schedule_name], GRID.astype(np.float32).astype(np.float64)
    target, (x_0, eps, log_variance_fraction) = there_and_back(schedule_name)[name]
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    divisors = {"eps": alpha, "x_0": sigma, "score": alpha * sigma}
    allowed = divisors.get(name, np.ones_like(alpha)) > 0
    assert allowed[1:-1].all() and (allowed.all() or name in divisors)
    assert log_variance_fraction is None

    for value, exact, tolerance in zip((x_0, eps), (X_0, NOISE), tolerances(name, alpha, sigma), strict=True):
        worst = np.abs(value - exact).max((1, 2))
        np.testing.assert_array_less(worst[allowed], tolerance[allowed])

    exact = target_by_the_papers(name, expand(alpha), expand(sigma), X_0.astype(float), NOISE.astype(float))
    assert np.isfinite(target).all()
    size = np.abs(exact[allowed]).max((1, 2), keepdims=True)
    np.testing.assert_array_less(np.abs(target - exact)[allowed] / np.maximum(size, 1), 32 * EPS)


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
@pytest.mark.parametrize("schedule_name", sorted(SCHEDULES))
def test_any_output_gives_two_halves_that_make_x_t(name, schedule_name):
    """Also a wrong output: alpha x_0_hat + sigma eps_hat = x_t, the one thing that a prediction always satisfies."""
    parameterization, schedule = PARAMETERIZATIONS[name], SCHEDULES[schedule_name]
    t = np.linspace(0.05, 0.95, 7)
    net_out, x_t = np.random.default_rng(1).normal(size=(2, 7, 4))
    x_0, eps, _ = parameterization.predict(schedule, net_out, x_t, t)
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    np.testing.assert_allclose(alpha * x_0 + sigma * eps, x_t, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
@pytest.mark.parametrize("schedule_name", sorted(SCHEDULES))
def test_log_error_scale_is_the_ratio_of_the_two_errors(name, schedule_name):
    parameterization, schedule = PARAMETERIZATIONS[name], SCHEDULES[schedule_name]
    t = np.linspace(0.02, 0.98, 9)
    net_out, wrong, x_t = np.random.default_rng(2).normal(size=(3, 9, 4))
    eps, wrong_eps = (parameterization.predict(schedule, out, x_t, t).eps for out in (net_out, wrong))
    ratio = np.log(np.abs(wrong_eps - eps) / np.abs(wrong - net_out)).mean(1)
    log_norm = np.log(np.hypot(schedule.alpha(t), schedule.sigma(t)))
    scale = parameterization.log_error_scale(jnp.float32(schedule.log_snr(t)), jnp.float32(log_norm))
    np.testing.assert_allclose(scale, ratio, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_log_error_scale_is_finite_wherever_log_snr_is(name):
    ends = jnp.array([-schedules.LOG_SNR_LIMIT, schedules.LOG_SNR_LIMIT])
    assert np.isfinite(PARAMETERIZATIONS[name].log_error_scale(ends, jnp.zeros(2))).all()


@pytest.mark.parametrize("sigma_data", [0.5, 1.3])
def test_edm_at_alpha_1_has_the_paper_s_coefficients(sigma_data):
    """arXiv:2206.00364, table 1."""
    schedule, parameterization = schedules.VarianceExploding(0.002, 80.0), processes.Edm(sigma_data)
    t = np.linspace(0, 1, 11)
    sigma = 0.002 * 40_000**t
    c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    c_out = sigma * sigma_data / np.sqrt(sigma**2 + sigma_data**2)
    c_in = 1 / np.sqrt(sigma**2 + sigma_data**2)
    ones, zeros = np.ones((11, 1)), np.zeros((11, 1))
    np.testing.assert_allclose(parameterization.network_input(schedule, ones, t)[:, 0], c_in, rtol=1e-12)
    np.testing.assert_allclose(parameterization.predict(schedule, zeros, ones, t).x_0[:, 0], c_skip, rtol=1e-12)
    np.testing.assert_allclose(parameterization.predict(schedule, ones, zeros, t).x_0[:, 0], c_out, rtol=1e-12)


@pytest.mark.parametrize("schedule_name", ["edm", "cosine", "flow"])
def test_edm_s_input_and_target_have_unit_variance(schedule_name):
    """The principle that EDM derives its coefficients from, for data of variance sigma_data^2 (appendix B.6)."""
    schedule, parameterization = SCHEDULES[schedule_name], processes.Edm(0.7)
    t = np.linspace(0.01, 0.99, 5)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    ones, zeros = np.ones((5, 1)), np.zeros((5, 1))
    scale = parameterization.network_input(schedule, ones, t)[:, 0]
    np.testing.assert_allclose(scale**2 * (alpha**2 * 0.49 + sigma**2), 1)
    of_x_0, of_eps = (parameterization.target(schedule, *pair, t) for pair in ((ones, zeros), (zeros, ones)))
    np.testing.assert_allclose(of_x_0**2 * 0.49 + of_eps**2, 1)


@pytest.mark.parametrize("name", ["eps", "x_0", "v", "flow", "score"])
def test_the_others_see_x_t_as_it_is(name):
    x_t = jnp.arange(10.0).reshape(5, 2)
    seen = PARAMETERIZATIONS[name].network_input(schedules.Cosine(), x_t, jnp.linspace(0, 1, 5))
    np.testing.assert_array_equal(seen, x_t)


def test_the_only_division_is_refused_where_it_is_by_zero():
    times = np.array([1.0, 0.5, 0.0])
    for name in ("eps", "score"):
        with pytest.raises(ValueError, match=r"divides by alpha, which is 0 at t = 1: use V, FlowVelocity or Edm"):
            processes.refuse_singular(PARAMETERIZATIONS[name], schedules.Cosine(), times)
        processes.refuse_singular(PARAMETERIZATIONS[name], schedules.LinearBeta(), times)
    with pytest.raises(ValueError, match=r"X0 divides by sigma, which is 0 at t = 0"):
        processes.refuse_singular(processes.X0(), schedules.Cosine(), times)
    processes.refuse_singular(processes.X0(), schedules.VarianceExploding(), times)
    for name in ("v", "flow", "edm"):
        processes.refuse_singular(PARAMETERIZATIONS[name], schedules.Cosine(), times)


def test_a_parameterization_is_a_pytree_whose_numbers_do_not_retrace():
    traces = []

    @jax.jit
    def scale(parameterization):
        traces.append(1)
        return parameterization.network_input(schedules.Flow(), jnp.ones((1, 1)), jnp.ones(1))[0, 0]

    assert [float(scale(processes.Edm(sd))) for sd in (0.5, 0.6)] == [1, 1]
    assert len(traces) == 1
