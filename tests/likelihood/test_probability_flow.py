"""Log-densities by the probability-flow ODE, against those of Gaussians and mixtures by SciPy."""

import dataclasses
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from diffax import arrays, denoisers, likelihood, schedules
from diffax.likelihood import divergence

ROOT = pathlib.Path(__file__).parents[2]
RNG = np.random.default_rng(0)
SCHEDULES = {
    "cosine": schedules.Cosine(),
    "linear_beta": schedules.LinearBeta(),
    "variance_exploding": schedules.VarianceExploding(0.02, 20.0),
    "sub_vp": schedules.SubVP(),
    "flow": schedules.Flow(),
    "ddpm": schedules.Discrete.linear(1000),
}
FACTORS = RNG.normal(size=(3, 2, 2)) * 0.4
MIXTURE = (
    np.array([0.5, 0.2, 0.3]),
    np.array([[1.0, -0.5], [-1.5, 0.5], [0.0, 2.0]]),
    FACTORS @ FACTORS.swapaxes(1, 2) + 0.01 * np.eye(2),
)
# As three equal components, so that the same program serves.
GAUSSIAN = (np.full(3, 1 / 3), np.tile([0.4, -1.0], (3, 1)), np.tile([[0.3, 0.1], [0.1, 0.2]], (3, 1, 1)))
X = np.concatenate([RNG.normal(size=(12, 2)), MIXTURE[1], [[4.0, -4.0]]])


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class OneOf:
    """The schedule of that number in SCHEDULES: one compiled program serves all."""

    number: int

    def _of(self, method, value):
        branches = [getattr(schedule, method) for schedule in SCHEDULES.values()]
        return jax.lax.switch(self.number, branches, jnp.asarray(value))

    def alpha(self, t):
        return self._of("alpha", t)

    def sigma(self, t):
        return self._of("sigma", t)

    def log_snr(self, t):
        return self._of("log_snr", t)

    def t_of_log_snr(self, log_snr):
        return self._of("t_of_log_snr", log_snr)


def log_density_of(parameters, schedule, x, t):
    """The log-density of mixture data under the process at time t, by SciPy."""
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    parts = [
        np.log(weight) + stats.multivariate_normal(alpha * mean, alpha**2 * cov + sigma**2 * np.eye(2)).logpdf(x)
        for weight, mean, cov in zip(*parameters, strict=True)
    ]
    return special.logsumexp(parts, axis=0)


@jax.jit
def with_own_prior(oracle, x, tolerance):
    """Exact divergence, and the oracle's own marginal as the prior."""
    result = likelihood.log_density(
        oracle, oracle.schedule, x, prior=lambda x: oracle.log_density(x, 1.0), rtol=tolerance, atol=tolerance
    )
    return result, oracle.log_density(x, 0.0)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("parameters", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])
def test_the_log_density_of_an_exact_denoiser_is_that_of_its_data(x64, name, parameters):
    """To 1e-4 nats per dimension; VE's data are convolved with sigma_min."""
    schedule = SCHEDULES[name]
    oracle = denoisers.gaussian_mixture(OneOf(list(SCHEDULES).index(name)), *parameters)
    result, of_oracle = with_own_prior(oracle, jnp.asarray(X), 3e-7)
    truth = log_density_of(parameters, schedule, X, 0.0)
    np.testing.assert_allclose(of_oracle, truth, atol=1e-6)
    np.testing.assert_allclose(result.nats / 2, truth / 2, atol=1e-4)
    assert np.all(result.standard_error == 0)
    assert np.all(result.num_evaluations % 6 == 1) and 50 < result.num_evaluations.max() < 600


@jax.jit
def with_probes(oracle, x, probes):
    return likelihood.log_density(oracle, oracle.schedule, x, probes=probes, rtol=1e-6, atol=1e-6)


def independent(mean, variance):
    """The exact denoiser of independent Gaussian dimensions, and its log-density with the prior's own by SciPy.

    VE's sigma_max is small, so that the prior N(0, sigma_max^2) is far from the data's marginal at t = 1.
    """
    schedule, x = schedules.VarianceExploding(0.02, 4.0), X[:4]
    oracle = denoisers.gaussian_mixture(schedule, [1.0], [mean], [np.diag(variance)])
    first, last = np.sqrt(variance + 0.02**2), np.sqrt(variance + 4.0**2)
    x_1 = mean + last / first * (x - mean)  # where the trajectory of Gaussian data ends
    added = (stats.norm(0, 4.0).logpdf(x_1) - stats.norm(mean, last).logpdf(x_1)).sum(1)
    return oracle, jnp.asarray(x), stats.norm(mean, first).logpdf(x).sum(1), added


def test_one_probe_of_signs_is_exact_for_independent_dimensions_up_to_what_the_gaussian_prior_adds(x64):
    oracle, x, truth, added = independent(np.array([0.4, -1.0]), np.array([0.3, 0.05]))
    keys = jax.random.split(jax.random.key(0), 4)
    by_signs = with_probes(oracle, x, divergence.rademacher(keys, x))
    by_normals = with_probes(oracle, x, divergence.gaussian(keys, x))
    np.testing.assert_allclose(by_signs.nats, truth + added, atol=1e-4)
    assert np.abs(added).min() > 2e-3
    assert np.abs(by_normals.nats - truth - added).min() > 0.01
    assert np.isnan(by_signs.standard_error).all()


@pytest.mark.parametrize("draw", [divergence.rademacher, divergence.gaussian])
def test_probes_are_unbiased_within_their_standard_error_on_a_mixture(x64, draw):
    schedule, x = schedules.Flow(), jnp.asarray(X[:6])
    oracle = denoisers.gaussian_mixture(schedule, *MIXTURE)
    probes = draw(jax.random.split(jax.random.key(1), 6), x, num_probes=200)
    result = with_probes(oracle, x, probes)
    truth = log_density_of(MIXTURE, schedule, X[:6], 0.0)
    assert np.all(np.abs(result.nats - truth) < 4 * result.standard_error)
    assert 0.01 < result.standard_error.min() < result.standard_error.max() < 1


def test_a_sample_has_its_own_condition_and_steps_and_does_not_know_its_batch():
    """In float32, by a denoiser with one mean for each row, as a network with labels has, under jit."""
    schedule, means = schedules.Cosine(), jnp.asarray([0.0, 1.0, -2.0])

    @jax.jit
    def solve(x, means):
        def denoiser(x_t, t):
            one = denoisers.gaussian_mixture(schedule, [1.0], [[0.0]], [0.1])
            alpha = arrays.expand_to(schedule.alpha(t), x_t)
            prediction = one(x_t - alpha * means[:, None], t)
            return prediction._replace(x_0=prediction.x_0 + means[:, None])

        return likelihood.log_density(denoiser, schedule, x)

    x = jnp.asarray([[0.3], [0.9], [-2.0]])
    result = solve(x, means)
    np.testing.assert_allclose(result.nats, stats.norm(means, 0.1).logpdf(x[:, 0]), atol=5e-3)
    elsewhere = solve(x.at[::2].add(0.1), means.at[::2].set(0.2))
    assert elsewhere.nats[1] == result.nats[1] and elsewhere.num_evaluations[1] == result.num_evaluations[1]
    assert len(set(result.num_evaluations.tolist())) > 1


ON_EIGHT_DEVICES = """
import jax
jax.config.update("jax_num_cpu_devices", 8)
import jax.numpy as jnp
import numpy as np
from diffax import denoisers, likelihood, schedules, sharding

schedule, x = schedules.VarianceExploding(0.02, 20.0), np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
oracle = denoisers.gaussian_mixture(schedule, [0.5, 0.5], [[1.0, 0.0], [-1.0, 0.5]], [0.3, 0.6])

@jax.jit
def solve(x):
    return likelihood.log_density(oracle, schedule, x, prior=lambda x: oracle.log_density(x, 1.0))

result = solve(jax.device_put(x, sharding.batch_sharding(sharding.make_mesh())))
assert len(result.nats.sharding.device_set) == 8, result.nats.sharding
assert result.nats.addressable_shards[0].data.shape == (2,)
np.testing.assert_allclose(result.nats, oracle.log_density(x, 0.0), atol=2e-3)
"""


def test_a_batch_may_be_split_over_eight_devices():
    process = subprocess.run([sys.executable, "-c", ON_EIGHT_DEVICES], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def test_times_and_bins_that_do_not_fit_are_refused():
    schedule = schedules.Flow()
    oracle = denoisers.gaussian_mixture(schedule, [1.0], [[0.0]], [1.0])
    for start, end in ((0.5, 0.5), (1.0, 0.0), (-0.1, 1.0)):
        with pytest.raises(ValueError, match="must be 0 <= start < end <= 1"):
            likelihood.log_density(oracle, schedule, jnp.zeros((1, 1)), start=start, end=end)
    with pytest.raises(ValueError, match="discrete data need both bins and dequantize, points neither"):
        keys = jax.random.split(jax.random.key(0), 1)
        bins = likelihood.Bins.of_levels(17)
        likelihood.log_likelihood(keys, oracle, schedule, jnp.zeros((1, 1)), bins=bins, dequantize=None)
