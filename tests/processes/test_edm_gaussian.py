"""EDM's output over the exact denoiser of a Gaussian, compared with the oracle of one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, losses, processes, samplers, schedules
from diffax.losses import weighting
from tests.cases import SCHEDULES

RNG = np.random.default_rng(0)
# 500 images of 2x3 numbers, correlated and off the centre; the last number never varies.
MIXING = np.concatenate([RNG.normal(size=(6, 5)) / 3, np.zeros((6, 1))], axis=1)
DATA = (RNG.normal(size=(500, 6)) @ MIXING + [0.5, -0.3, 0.0, 0.2, 0.1, -1.0]).reshape(500, 2, 3, 1).astype(np.float32)
FLAT = DATA.reshape(500, 6).astype(np.float64)
GAUSSIAN = processes.edm_gaussian(processes.moments(DATA), 0.6)


def oracle(schedule):
    return denoisers.gaussian_mixture(schedule, [1.0], FLAT.mean(0)[None], np.cov(FLAT.T, bias=True)[None])


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_an_output_of_0_is_the_gaussian_s_denoiser(name):
    schedule, t = SCHEDULES[name], np.linspace(0.05, 0.95, 7).astype(np.float32)
    x_t = oracle(schedule).sample(jax.random.split(jax.random.key(0), 7), t)
    x_0, eps, log_variance_fraction = GAUSSIAN.predict(schedule, jnp.zeros((7, 2, 3, 1)), x_t.reshape(7, 2, 3, 1), t)
    exact = oracle(schedule)(x_t, t)
    # The number that never varies has the smallest eigenvalue allowed, 1e-6 of the largest, for the oracle's 0.
    np.testing.assert_allclose(x_0.reshape(7, 6), exact.x_0, atol=2e-3)
    np.testing.assert_allclose(eps.reshape(7, 6), exact.eps, atol=2e-3 * float(np.max(1 / schedule.sigma(t))))
    assert log_variance_fraction is None and x_0.dtype == eps.dtype == jnp.float32


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_prediction_to_target_to_prediction_from_end_to_end(name):
    schedule = SCHEDULES[name]
    t = np.concatenate([[0.0], np.geomspace(1e-4, 0.5, 12), 1 - np.geomspace(0.5, 1e-6, 12)[1:], [1.0]])
    t = t.astype(np.float32)
    x_0, noise = RNG.normal(size=(2, len(t), 2, 3, 1)).astype(np.float32)

    @jax.jit
    def there_and_back(x_0, noise, t):
        x_t = processes.diffuse(schedule, x_0, noise, t)
        target = GAUSSIAN.target(schedule, x_0, noise, t)
        return target, GAUSSIAN.predict(schedule, target, x_t, t)

    target, (x_0_hat, eps_hat, _) = there_and_back(x_0, noise, t)
    assert np.isfinite(target).all()
    # The Gaussian's share is added as it was taken off. Its eps is at most |x_t| / (2 sqrt(smallest eigenvalue)) off
    # per unit of rounding: 500 |x_t| of these data, where x_t is at most 4 (alpha + sigma).
    size = 4 * (schedule.alpha(t) + schedule.sigma(t))[:, None, None, None]
    np.testing.assert_array_less(np.abs(x_0_hat - x_0) / np.maximum(size, 1), 1e-5)
    np.testing.assert_array_less(np.abs(eps_hat - noise) / np.maximum(size, 1), 500 * 2e-7)


def test_with_isotropic_data_it_is_edm():
    sd, dim = 0.6, 6
    isotropic = processes.EdmGaussian(
        sd,
        mean=np.zeros(dim),
        eigenvalues=np.full(dim, sd**2),
        eigenvectors=np.linalg.qr(RNG.normal(size=(dim, dim)))[0],
    )
    edm, schedule, t = processes.Edm(sd), schedules.Cosine(), np.linspace(0.0, 1.0, 9)
    net_out, x_t, eps = RNG.normal(size=(3, 9, dim))
    for ours, theirs in zip(
        isotropic.predict(schedule, net_out, x_t, t)[:2], edm.predict(schedule, net_out, x_t, t)[:2], strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    target, expected = (p.target(schedule, x_t, eps, t) for p in (isotropic, edm))
    np.testing.assert_allclose(target, expected, rtol=1e-9, atol=1e-9)


def test_any_output_gives_two_halves_that_make_x_t():
    schedule, t = schedules.Flow(), np.linspace(0.05, 0.95, 7)
    net_out, x_t = RNG.normal(size=(2, 7, 2, 3, 1))
    x_0, eps, _ = GAUSSIAN.predict(schedule, net_out, x_t, t)
    alpha, sigma = (value(t)[:, None, None, None] for value in (schedule.alpha, schedule.sigma))
    np.testing.assert_allclose(alpha * x_0 + sigma * eps, x_t, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["cosine", "edm", "flow"])
def test_one_wrong_eps_has_the_loss_it_has_under_eps(name):
    """The loss is of eps, whatever the network's output stands for: 1 / sd^2 |eps_hat - eps|^2 at this weight."""
    schedule, t = SCHEDULES[name], jnp.linspace(0.1, 0.9, 8)
    x_0, noise, wrong = (jnp.asarray(value, jnp.float32) for value in RNG.normal(size=(3, 8, 2, 3, 1)))
    x_t = processes.diffuse(schedule, x_0, noise, t)
    expand = (8, 1, 1, 1)
    x_0_hat = (x_t - schedule.sigma(t).reshape(expand) * wrong) / schedule.alpha(t).reshape(expand)
    output = GAUSSIAN.target(schedule, x_0_hat, wrong, t)
    loss = losses.denoising(
        jax.random.split(jax.random.key(0), 8),
        lambda x_t, t, *, key: output,
        schedule,
        GAUSSIAN,
        x_0,
        weighting=weighting.Uniform(),
        time_density=processes.time_sampling.Uniform(),
        eps=noise,
        t=t,
    )
    np.testing.assert_allclose(loss, ((wrong - noise) ** 2).mean((1, 2, 3)), rtol=2e-3)


def test_an_untrained_network_samples_the_gaussian():
    """DDIM with outputs of 0 gives the data's mean and covariance within sampling error."""
    schedule, num = schedules.Cosine(), 20_000
    table = samplers.ddim(schedule, samplers.grids.uniform(200))

    def denoiser(x_t, t):
        return GAUSSIAN.predict(schedule, jnp.zeros_like(x_t), x_t, jnp.broadcast_to(t, (len(x_t),)))

    prior_keys, keys = jax.random.split(jax.random.key(1), (2, num))
    drawn = samplers.run(keys, denoiser, table, samplers.prior(prior_keys, table, (2, 3, 1))).reshape(num, 6)
    covariance = np.cov(FLAT.T, bias=True)
    scale = covariance.diagonal().max()
    np.testing.assert_allclose(drawn.mean(0), FLAT.mean(0), atol=4 * np.sqrt(scale / num))
    # 200 steps of DDIM lose up to 1% of a variance; the rest is 4 standard errors of a covariance.
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=(0.01 + 4 * np.sqrt(2 / num)) * scale)


def test_moments_are_those_of_the_data():
    moments = processes.moments(DATA)
    assert all(value.dtype == np.float64 for value in moments)
    assert (
        moments.mean.shape == (2, 3, 1) and moments.eigenvalues.shape == (6,) and moments.eigenvectors.shape == (6, 6)
    )
    np.testing.assert_allclose(moments.mean.ravel(), FLAT.mean(0), rtol=1e-12)
    covariance = moments.eigenvectors @ np.diag(moments.eigenvalues) @ moments.eigenvectors.T
    np.testing.assert_allclose(covariance[:5, :5], np.cov(FLAT.T, bias=True)[:5, :5], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moments.eigenvectors.T @ moments.eigenvectors, np.eye(6), atol=1e-12)
    # The number that never varies has the smallest eigenvalue allowed.
    assert moments.eigenvalues.min() == 1e-6 * moments.eigenvalues.max()
    for ours, theirs in zip(moments, (GAUSSIAN.mean, GAUSSIAN.eigenvalues, GAUSSIAN.eigenvectors), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_data_without_a_covariance_to_invert_are_refused():
    with pytest.raises(ValueError, match="needs data that vary"):
        processes.moments(np.ones((5, 2, 2, 1), np.float32))
    with pytest.raises(ValueError, match="at most 4,096 numbers, got 4,800: use edm"):
        processes.moments(np.zeros((2, 40, 40, 3), np.float32))


def test_the_network_may_see_the_gaussian_s_estimates():
    """x_t as EDM scales it, then the posterior means of x_0 and eps, which the oracle has."""
    schedule, t = schedules.Cosine(), np.linspace(0.05, 0.95, 7).astype(np.float32)
    flat = oracle(schedule).sample(jax.random.split(jax.random.key(0), 7), t)
    x_t, exact = flat.reshape(7, 2, 3, 1), oracle(schedule)(flat, t)
    seeing = processes.edm_gaussian(processes.moments(DATA), 0.6, as_input=True)
    scaled, x_0, eps = np.moveaxis(np.asarray(seeing.network_input(schedule, x_t, t)), -1, 0)
    np.testing.assert_allclose(scaled, processes.Edm(0.6).network_input(schedule, x_t, t)[..., 0], rtol=1e-6)
    np.testing.assert_allclose(x_0.reshape(7, 6), exact.x_0, atol=2e-3)
    np.testing.assert_allclose(eps.reshape(7, 6), exact.eps, atol=2e-3 * float(np.max(1 / schedule.sigma(t))))
    assert GAUSSIAN.network_input(schedule, x_t, t).shape == x_t.shape
