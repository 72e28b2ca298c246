"""The exact denoisers against densities, derivatives, NumPy sums and moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, schedules
from tests.cases import SCHEDULES

RNG = np.random.default_rng(0)
WEIGHTS = np.array([0.5, 0.2, 0.3])
MEANS = np.array([[1.0, -0.5, 0.3], [-1.5, 0.5, 0.0], [0.0, 2.0, -1.0]])
FACTORS = RNG.normal(size=(3, 3, 3)) * 0.5
COVARIANCES = FACTORS @ FACTORS.swapaxes(1, 2) + 0.05 * np.eye(3)
X = RNG.normal(size=(8, 3)) * 1.5
T = np.array([0.05, 0.2, 0.4, 0.5, 0.6, 0.8, 0.95, 1.0])
NAMES = ["cosine", "linear_beta", "flow", "edm", "linear"]


def mixture(schedule):
    return denoisers.gaussian_mixture(schedule, WEIGHTS, MEANS, COVARIANCES)


def responsibilities(schedule, x, t):
    """log w_k N(x_t; alpha m_k, alpha^2 C_k + sigma^2), by solving with the full matrices."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    logs, halves = [], []
    for weight, mean, covariance in zip(WEIGHTS, MEANS, COVARIANCES, strict=True):
        total = alpha**2 * covariance + sigma**2 * np.eye(3)
        residual = np.linalg.solve(total, x - alpha * mean)
        log_volume = np.linalg.slogdet(2 * np.pi * total)[1]
        logs.append(np.log(weight) - ((x - alpha * mean) @ residual + log_volume) / 2)
        halves.append((mean + alpha * covariance @ residual, sigma * residual))
    return np.array(logs), halves


@pytest.mark.parametrize("name", NAMES)
def test_a_mixture_is_bayes_rule_with_full_matrices(name):
    oracle = mixture(SCHEDULES[name])
    points, times = jnp.asarray(X, jnp.float32), jnp.asarray(T, jnp.float32)
    prediction, log_density, score = jax.jit(
        lambda oracle, x, t: (oracle(x, t), oracle.log_density(x, t), oracle.score(x, t))
    )(oracle, points, times)
    for i in range(len(X)):
        logs, halves = responsibilities(SCHEDULES[name], X[i], T[i])
        share = np.exp(logs - np.logaddexp.reduce(logs))
        x_0, eps = (sum(share[k] * halves[k][half] for k in range(3)) for half in (0, 1))
        np.testing.assert_allclose(prediction.x_0[i], x_0, rtol=1e-3, atol=2e-4)
        np.testing.assert_allclose(prediction.eps[i], eps, rtol=1e-3, atol=2e-4)
        assert log_density[i] == pytest.approx(np.logaddexp.reduce(logs), rel=1e-3, abs=1e-3)
        np.testing.assert_allclose(score[i], -eps / SCHEDULES[name].sigma(T[i]), rtol=1e-3, atol=1e-3)
    assert prediction.log_variance_fraction is None


def test_a_mixture_s_score_is_the_derivative_of_its_log_density(x64):
    oracle = mixture(schedules.Cosine())
    x, t = jnp.asarray(X), jnp.asarray(T)
    derivative = jax.jit(jax.grad(lambda x: oracle.log_density(x, t).sum()))(x)
    score = jax.jit(oracle.score)(x, t)
    np.testing.assert_allclose(score, derivative, rtol=1e-10)


def test_a_mixture_s_halves_make_x_t_and_eps_is_minus_sigma_times_the_score(x64):
    schedule = schedules.Cosine()
    oracle, x, t = mixture(schedule), jnp.asarray(X), jnp.asarray(T)
    (x_0, eps, _), score = jax.jit(lambda x: (oracle(x, t), oracle.score(x, t)))(x)
    alpha, sigma = schedule.alpha(T)[:, None], schedule.sigma(T)[:, None]
    np.testing.assert_allclose(alpha * x_0 + sigma * eps, X, rtol=1e-10)
    np.testing.assert_allclose(eps, -sigma * score, rtol=1e-10, atol=1e-12)


def test_one_time_serves_a_whole_batch():
    oracle, x = mixture(schedules.Flow()), jnp.asarray(X, jnp.float32)
    times = jnp.full(8, 0.4), jnp.float32(0.4), 0.4
    one_each, shared, number = jax.jit(lambda x: [oracle(x, t).x_0 for t in times])(x)
    np.testing.assert_allclose(shared, one_each, rtol=1e-6)
    np.testing.assert_allclose(number, one_each, rtol=1e-6)


def test_at_the_ends_of_time_a_mixture_knows_x_0_or_nothing():
    oracle, x = mixture(schedules.Cosine()), jnp.asarray(X, jnp.float32)
    np.testing.assert_allclose(oracle(x, 0.0).x_0, X, atol=2e-5)
    np.testing.assert_allclose(oracle(x, 1.0).x_0, np.broadcast_to(WEIGHTS @ MEANS, X.shape), atol=1e-5)
    np.testing.assert_allclose(oracle(x, 1.0).eps, X, atol=1e-5)


def test_point_masses_have_finite_answers_where_there_is_no_noise():
    oracle = denoisers.gaussian_mixture(schedules.Flow(), [0.5, 0.5], MEANS[:2], [0.0, 0.0])
    x_0, eps, _ = oracle(jnp.asarray(MEANS[:2], jnp.float32), 0.0)
    np.testing.assert_allclose(x_0, MEANS[:2])
    assert np.isfinite(eps).all()


def test_draws_have_the_mixture_s_moments():
    oracle, num = mixture(schedules.Cosine()), 40_000
    draws = np.asarray(jax.jit(oracle.sample)(jax.random.split(jax.random.key(0), num)), np.float64)
    mean = WEIGHTS @ MEANS
    covariance = np.einsum("k,kij->ij", WEIGHTS, COVARIANCES + np.einsum("ki,kj->kij", MEANS - mean, MEANS - mean))
    np.testing.assert_allclose(oracle.mean, mean)
    np.testing.assert_allclose(oracle.covariance, covariance)
    # Five standard errors; products of components have a variance of about 2 v_i v_j at most.
    spread = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(draws.mean(0) - mean) < 5 * spread / np.sqrt(num))
    assert np.all(np.abs(np.cov(draws.T) - covariance) < 5 * np.sqrt(2) * np.outer(spread, spread) / np.sqrt(num))


def test_draws_at_a_later_time_are_diffused():
    oracle, num = denoisers.gaussian_mixture(schedules.Flow(), [1.0], [[2.0]], [0.5]), 20_000
    keys = jax.random.split(jax.random.key(1), num)
    for t in (0.5, jnp.full(num, 0.5)):
        draws = np.asarray(oracle.sample(keys, t), np.float64)
        # Mean alpha m = 1, variance alpha^2 s^2 + sigma^2 = 0.3125; five standard errors.
        assert abs(draws.mean() - 1) < 5 * np.sqrt(0.3125 / num)
        assert abs(draws.var() - 0.3125) < 5 * 0.3125 * np.sqrt(2 / num)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.6], MEANS[:2], [1.0, 1.0]), "non-negative numbers with sum 1"),
        (([1.5, -0.5], MEANS[:2], [1.0, 1.0]), "non-negative numbers with sum 1"),
        (([1.0], MEANS[:2], [1.0]), r"means must have shape \(1, dim\), got \(2, 3\)"),
        (([1.0], MEANS[:1], [1.0, 2.0]), r"covariances must have shape \(1, 3, 3\), got \(2,\)"),
        (([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]]), "positive semi-definite"),
        (([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]]), "symmetric"),
    ],
)
def test_what_is_no_mixture_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        denoisers.gaussian_mixture(schedules.Flow(), *map(np.asarray, arguments))


@pytest.mark.parametrize("shape", [(2,), (2, 3, 1)])
@pytest.mark.parametrize("name", ["cosine", "edm"])
def test_the_empirical_denoiser_is_the_weighted_mean_of_the_data(name, shape):
    """EDM (arXiv:2206.00364), eq. 57, for any alpha and sigma."""
    schedule, t = SCHEDULES[name], np.array([0.1, 0.3, 0.5, 0.8])
    data, x = RNG.normal(size=(20, *shape)), RNG.normal(size=(4, *shape))
    x_0, eps, _ = denoisers.empirical(schedule, data)(jnp.asarray(x, jnp.float32), jnp.asarray(t, jnp.float32))
    for i in range(4):
        alpha, sigma = schedule.alpha(t[i]), schedule.sigma(t[i])
        squares = ((x[i] - alpha * data) ** 2).reshape(20, -1).sum(1) / (2 * sigma**2)
        share = np.exp(-(squares - squares.min()))
        expected = np.tensordot(share / share.sum(), data, 1)
        np.testing.assert_allclose(x_0[i], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(eps[i], (x[i] - alpha * expected) / sigma, rtol=1e-4, atol=1e-4)


def test_the_empirical_denoiser_holds_at_little_noise_next_to_close_neighbours():
    """Where |x|^2 - 2 x d + |d|^2 would cancel: two points 0.002 apart, 3 from the origin, sigma = 0.001."""
    data = np.array([[3.0, 3.0], [3.002, 3.0]])
    x, sigma = np.array([[3.0012, 3.0]], np.float32).astype(float), 0.001
    squares = ((x - data) ** 2).sum(1) / (2 * sigma**2)
    share_of_the_second = 1 / (1 + np.exp(squares[1] - squares[0]))
    schedule = schedules.VarianceExploding(sigma, 1.0)
    x_0, _, _ = denoisers.empirical(schedule, data)(jnp.asarray(x, jnp.float32), 0.0)
    # 2.4e-7, one ulp of 3, over a distance of 0.001, moves the exponent by 1e-3.
    assert (float(x_0[0, 0]) - 3.0) / 0.002 == pytest.approx(share_of_the_second, abs=2e-3)


def test_the_empirical_denoiser_finds_a_data_point_where_there_is_no_noise():
    data = RNG.normal(size=(5, 3))
    x_0, eps, _ = denoisers.empirical(schedules.Cosine(), data)(jnp.asarray(data, jnp.float32), 0.0)
    np.testing.assert_allclose(x_0, data, rtol=1e-6)
    np.testing.assert_allclose(eps, 0, atol=1e-5)


def test_oracles_are_arguments_of_jit():
    traces = []

    @jax.jit
    def x_0_of(oracle, x, t):
        traces.append(1)
        return oracle(x, t).x_0

    x = jnp.zeros((1, 3))
    for mean in MEANS:
        oracle = denoisers.gaussian_mixture(schedules.Flow(), [1.0], [mean], [1.0])
        np.testing.assert_allclose(x_0_of(oracle, x, 1.0)[0], mean, rtol=1e-6)
    assert len(traces) == 1
