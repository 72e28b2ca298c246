"""Whole runs on exact denoisers: distributions, inversion, orders of convergence."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, processes, samplers, schedules
from tests.cases import SCHEDULES

NUM = 2000
KEYS, NOISE_KEYS = jax.random.split(jax.random.key(0), (2, NUM))
WEIGHTS = np.array([0.3, 0.7])
MEANS = np.array([[1.0, -1.0], [-0.5, 0.8]])
COVARIANCES = np.array([[[0.30, 0.10], [0.10, 0.20]], [[0.15, -0.05], [-0.05, 0.25]]])
run = jax.jit(samplers.run, static_argnames="save_every")


def mixture(schedule):
    return denoisers.gaussian_mixture(schedule, WEIGHTS, MEANS, COVARIANCES)


def sampled(schedule, table):
    x = samplers.prior(KEYS, table, (2,))
    return np.asarray(run(NOISE_KEYS, mixture(schedule), table, x), np.float64)


CASES = {
    "ddpm_1000": ("cosine_betas", lambda s: samplers.ddpm(s, samplers.grids.discrete(1000, 1000))),
    "ddpm_1000_large": ("linear", lambda s: samplers.ddpm(s, samplers.grids.discrete(1000, 1000), variance="large")),
    "ddim_100": ("cosine_betas", lambda s: samplers.ddim(s, samplers.grids.discrete(1000, 100))),
    "ddim_100_eta_1": ("linear", lambda s: samplers.ddim(s, samplers.grids.discrete(1000, 100), eta=1.0)),
    "flow_100": ("flow", lambda s: samplers.ddim(s, samplers.grids.uniform(100))),
    "edm_100": ("edm", lambda s: samplers.to_data(samplers.ddim(s, samplers.grids.karras(s, 99)), 0.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_samples_of_an_exact_mixture_have_its_mean_and_covariance(name):
    schedule_name, make = CASES[name]
    schedule = SCHEDULES[schedule_name]
    samples, oracle = sampled(schedule, make(schedule)), mixture(schedule)
    spread = np.sqrt(np.diag(oracle.covariance))
    # Four standard errors of 2,000 samples: spread / sqrt(n) of a mean (0.02), at most sqrt(2) spread_i spread_j /
    # sqrt(n) of a covariance (0.03). 0.01 and 0.02 more for 100 first-order steps, whose error halves with the step.
    assert np.all(np.abs(samples.mean(0) - oracle.mean) < 4 * spread / np.sqrt(NUM) + 0.01)
    error = 4 * np.sqrt(2) * np.outer(spread, spread) / np.sqrt(NUM) + 0.02
    assert np.all(np.abs(np.cov(samples.T) - oracle.covariance) < error)
    # And it is two clusters, not one Gaussian of that covariance: the share nearer to the first mean.
    exact = np.asarray(oracle.sample(KEYS))
    nearer, expected = ((((x - MEANS[0]) ** 2).sum(1) < ((x - MEANS[1]) ** 2).sum(1)).mean() for x in (samples, exact))
    assert nearer == pytest.approx(expected, abs=4 * np.sqrt(2 * 0.25 / NUM))


def test_ddim_is_of_first_order(x64):
    """The error of the end point halves with the step, measured against many more steps, extrapolated."""
    schedule = schedules.Cosine()
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2)))

    def end(num_steps):
        return run(None, mixture(schedule), samplers.ddim(schedule, samplers.grids.uniform(num_steps)), x)

    exact = 2 * end(1280) - end(640)
    errors = [float(jnp.abs(end(num_steps) - exact).max()) for num_steps in (80, 160)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.15)


def test_inversion_on_increasing_times_comes_back():
    """Data to noise and back by the same method: off by its first-order error, which halves with the step."""
    schedule = schedules.Cosine()
    oracle = mixture(schedule)
    data = oracle.sample(KEYS[:64])

    def there_and_back(num_steps):
        times = samplers.grids.uniform(num_steps, end=1e-3)
        noise = run(None, oracle, samplers.ddim(schedule, times[::-1]), data)
        return noise, run(None, oracle, samplers.ddim(schedule, times), noise)

    coarse, fine = (there_and_back(num_steps) for num_steps in (100, 200))
    errors = [float(jnp.abs(back - data).mean()) for _, back in (coarse, fine)]
    assert errors[1] < 0.02
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.4)
    # Noise of the data under the exact flow is standard normal, here of only 64 points: five standard errors.
    assert abs(float(fine[0].mean())) < 5 / np.sqrt(128)


def test_inversion_of_a_discrete_model_starts_at_its_first_step():
    schedule = SCHEDULES["linear"]
    oracle, times = mixture(schedule), samplers.grids.discrete(1000, 200)[:-1]
    data = oracle.sample(KEYS[:64])
    noise = run(None, oracle, samplers.ddim(schedule, times[::-1]), data)
    back = run(None, oracle, samplers.ddim(schedule, times), noise)
    assert times[-1] == 5 / 1000
    assert float(jnp.abs(back - data).mean()) < 0.02


def test_ddpm_with_the_exact_denoiser_of_one_gaussian_has_the_variance_it_can_be_computed_to_have():
    """With N(0, s^2) data every row is linear: the variance of the state is a recursion of numbers."""
    schedule, std, num = SCHEDULES["cosine_betas"], 0.6, 20_000
    times = samplers.grids.discrete(1000, 10)
    for variance in ("small", "large"):
        table = samplers.ddpm(schedule, times, variance=variance)
        expected = float(schedule.sigma(1.0)) ** 2
        for t, s in itertools.pairwise(times):
            (alpha_t, sigma_t), (alpha_s, sigma_s) = ((schedule.alpha(r), schedule.sigma(r)) for r in (t, s))
            gain = alpha_t * std**2 / (alpha_t**2 * std**2 + sigma_t**2)
            beta = 1 - (alpha_t / alpha_s) ** 2
            small = sigma_s**2 / sigma_t**2 * beta
            # DDPM, eq. 7: the mean of q(x_s | x_t, x_0) at x_0 = gain x_t.
            slope = alpha_s * beta / sigma_t**2 * gain + alpha_t / alpha_s * sigma_s**2 / sigma_t**2
            added = 0 if s == 0 else {"small": small, "large": beta}[variance]
            expected = slope**2 * expected + added
        keys = jax.random.split(jax.random.key(2), num)
        oracle = denoisers.gaussian_mixture(schedule, [1.0], [[0.0]], [std])
        drawn = np.asarray(run(keys, oracle, table, samplers.prior(keys, table, (1,))), np.float64)
        assert drawn.var() == pytest.approx(expected, rel=5 * np.sqrt(2 / num))


def test_a_network_that_knows_the_data_samples_the_data():
    """The empirical denoiser of a few points, through from_network and the EDM parameterization, ends on them."""
    schedule, edm = schedules.VarianceExploding(0.002, 80.0), processes.Edm(0.5)
    data = np.array([[0.5, 0.5], [-0.5, 0.0], [0.0, -0.7]])
    oracle = denoisers.empirical(schedule, data)

    def raw(params, x, time_input, condition, *, key=None):
        t = schedule.t_of_log_snr(-8 * time_input)
        sigma = schedule.sigma(t)[:, None]
        x_t = x * jnp.sqrt(sigma**2 + 0.25)
        x_0, eps, _ = oracle(x_t, t)
        return edm.target(schedule, x_0, eps, t)

    network = denoisers.from_network(raw, None, schedule, edm, time_input=denoisers.time_inputs.quarter_log_sigma)
    table = samplers.to_data(samplers.ddim(schedule, samplers.grids.karras(schedule, 17)), 0.0)
    drawn = np.asarray(run(None, network, table, samplers.prior(KEYS[:200], table, (2,))))
    nearest = np.abs(drawn[:, None] - data).max(-1).min(1)
    assert np.quantile(nearest, 0.9) < 1e-3
