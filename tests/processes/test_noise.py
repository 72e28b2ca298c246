"""Noise laws: PFGM++'s kernel against its published radial law, its limit, and samples of an exact denoiser."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from diffax import denoisers, losses, processes, samplers, schedules

KEYS = jax.random.split(jax.random.key(0), 20_000)
VE = schedules.VarianceExploding(sigma_min=0.002, sigma_max=80.0)


def drawn(dim, shape):
    return np.asarray(processes.PoissonFlowNoise(dim).sample(KEYS, jnp.zeros((len(KEYS), *shape))), np.float64)


@pytest.mark.parametrize("dim", [1, 3, 128])
def test_radius_and_direction_are_those_of_the_paper(dim):
    """arXiv:2302.04265, appendix B: R^2 / r^2 is beta prime (N/2, D/2), with r = sigma sqrt(D), and x / R uniform."""
    noise = drawn(dim, (5,))
    radius = np.linalg.norm(noise, axis=1)
    assert stats.kstest(radius**2 / dim, stats.betaprime(5 / 2, dim / 2).cdf).pvalue > 1e-3
    # The first coordinate u of a uniform direction in 5 dimensions: (u + 1) / 2 is beta (2, 2).
    assert stats.kstest((noise[:, 0] / radius + 1) / 2, stats.beta(2, 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("dim", [1.0, 7.0])
def test_the_marginal_around_one_point_is_the_published_kernel(dim):
    """One coordinate of x_t for one data point: 1 / (|x - y|^2 + r^2)^((N + D) / 2) with the other integrated out."""
    sigma, n = 0.7, 2
    r = sigma * np.sqrt(dim)

    def kernel(u, x):
        return (x**2 + u**2 + r**2) ** (-(n + dim) / 2)

    grid = np.linspace(-1.5, 1.5, 7)
    line = np.array([integrate.quad(kernel, -np.inf, np.inf, args=(x,))[0] for x in grid])
    total, _ = integrate.quad(lambda x: integrate.quad(kernel, -np.inf, np.inf, args=(x,))[0], -np.inf, np.inf)
    x = sigma * drawn(dim, (n,))[:, 0]
    width = 0.2
    share = np.array([np.mean(np.abs(x - centre) < width / 2) for centre in grid])
    expected = line / total * width
    np.testing.assert_allclose(share, expected, atol=4 * np.sqrt(expected.max() / len(x)) + 0.01 * expected.max())


def test_a_large_number_of_dimensions_is_normal_noise():
    x = jnp.zeros((len(KEYS[:50]), 3))
    normal, large = (noise.sample(KEYS[:50], x) for noise in (processes.NORMAL, processes.PoissonFlowNoise(1e8)))
    np.testing.assert_allclose(large, normal, rtol=1e-3)
    data, points = np.array([[0.0, 1.0], [2.0, -1.0]]), np.random.default_rng(0).standard_normal((6, 2))
    with jax.enable_x64(True):
        exact = denoisers.empirical(VE, data)(jnp.asarray(points), 0.5).x_0
        limit = denoisers.empirical(VE, data, noise=processes.PoissonFlowNoise(1e10))(jnp.asarray(points), 0.5).x_0
    np.testing.assert_allclose(limit, exact, rtol=1e-6)


def test_the_posterior_mean_is_the_weighted_mean_of_the_data():
    """Weights 1 / (|x - y|^2 + r^2)^((N + D) / 2), in float64 NumPy."""
    data, x, t, dim = np.array([[0.0], [1.0], [5.0]]), np.array([[0.4], [3.0]]), 0.4, 2.0
    r = float(VE.sigma(t)) * np.sqrt(dim)
    weights = ((x - data.T) ** 2 + r**2) ** (-(1 + dim) / 2)
    expected = weights @ data / weights.sum(1, keepdims=True)
    found = denoisers.empirical(VE, data, noise=processes.PoissonFlowNoise(dim))(jnp.asarray(x, jnp.float32), t)
    np.testing.assert_allclose(found.x_0, expected, rtol=1e-4)
    np.testing.assert_allclose(found.eps, (x - expected) / float(VE.sigma(t)), rtol=1e-4)


@pytest.mark.parametrize("dim", [2.0, 64.0])
def test_the_ode_carries_the_marginals(dim):
    """Heun's method from sigma = 80 to 0.5 against draws at 0.5, for two data points of unequal weight."""
    noise, data = processes.PoissonFlowNoise(dim), np.array([[-1.0], [-1.0], [1.0]], np.float32)
    denoiser, keys = denoisers.empirical(VE, data, noise=noise), KEYS[:4000]
    end = float(VE.t_of_log_snr(-2 * np.log(0.5)))
    sigmas = np.geomspace(80.0, 0.5, 41)
    times = np.asarray(VE.t_of_log_snr(-2 * np.log(sigmas)))
    times[0], times[-1] = 1.0, end
    table = samplers.heun(VE, times)
    x = np.asarray(samplers.run(None, denoiser, table, samplers.prior(keys, table, (1,), noise=noise)))[:, 0]
    eps = np.asarray(noise.sample(jax.random.split(jax.random.key(1), 4000), jnp.zeros((4000, 1))))[:, 0]
    direct = np.random.default_rng(0).choice(data[:, 0], 4000) + 0.5 * eps
    assert stats.ks_2samp(x, direct).pvalue > 1e-3


def test_the_loss_is_least_at_the_posterior_mean():
    """The gradient in a shift and in a scale of the exact denoiser vanishes, within its standard error."""
    noise, data = processes.PoissonFlowNoise(4.0), np.array([[-1.0, 0.5], [1.0, 0.0]], np.float32)
    exact = denoisers.empirical(VE, data, noise=noise)
    x_0 = jnp.asarray(data)[jax.random.randint(jax.random.key(2), (len(KEYS),), 0, 2)]
    t = jnp.full(len(KEYS), float(VE.t_of_log_snr(0.0)))

    def of_each(change):
        return losses.denoising(
            KEYS,
            lambda x_t, t, key: exact(x_t, t).x_0 * (1 + change[0]) + change[1],
            VE,
            processes.X0(),
            x_0,
            weighting=losses.weighting.Uniform(),
            time_density=processes.time_sampling.Uniform(),
            noise=noise,
            t=t,
        )

    gradients = np.asarray(jax.jit(jax.jacfwd(of_each))(jnp.zeros(2)))
    assert np.all(np.abs(gradients.mean(0)) < 4 * gradients.std(0) / np.sqrt(len(gradients)))
    assert np.all(np.abs(gradients).mean(0) > 0.05)


def test_less_than_one_dimension_is_refused():
    with pytest.raises(ValueError, match=r"dim, the number D of augmented dimensions, must be >= 1, got 0\.5"):
        processes.PoissonFlowNoise(0.5)
