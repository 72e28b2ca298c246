"""The variational bound against DDPM's formulas in float64 NumPy, and against likelihoods that are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from diffax import arrays, data, denoisers, schedules
from diffax.likelihood import variational_bound
from diffax.processes import reverse_steps
from diffax.typing import Prediction

DISCRETE = schedules.Discrete.linear(50, 1e-3, 0.3)


def ddpm_terms(alpha_bar, x_0, noisy, predict, variance, num_levels):
    """Terms of arXiv:2006.11239 in its own variables, first step to last; alpha_bar of the times, decreasing times."""
    alpha_bar = np.append(alpha_bar, 1.0)
    terms = []
    for n in range(len(noisy)):
        bar, previous = alpha_bar[n], alpha_bar[n + 1]
        beta = 1 - bar / previous
        x_0_hat, fraction = predict(noisy[n])
        posterior = beta * (1 - previous) / (1 - bar)
        if previous == 1:  # the published code takes the posterior variance of the step before
            earlier = 1 - alpha_bar[n - 1] / bar
            posterior = earlier * (1 - bar) / (1 - alpha_bar[n - 1])
        log_variance = {
            "small": np.log(posterior) + 0 * fraction,
            "large": np.log(beta) + 0 * fraction,
            "learned": fraction * np.log(beta) + (1 - fraction) * np.log(posterior),
        }[variance]
        if previous < 1:
            factor = np.sqrt(previous) * beta / (1 - bar)
            square = (factor * (x_0 - x_0_hat)) ** 2
            kl = (log_variance - np.log(posterior) + (posterior + square) / np.exp(log_variance) - 1) / 2
            terms.append(kl.sum(-1))
        elif num_levels is None:
            log_variance = np.log(beta) + 0 * fraction if variance == "small" else log_variance
            density = -((x_0 - x_0_hat) ** 2 / np.exp(log_variance) + log_variance + np.log(2 * np.pi)) / 2
            terms.append(-density.sum(-1))
        else:
            std = np.exp((np.log(posterior) if variance != "learned" else log_variance) / 2)
            half = 1 / (num_levels - 1)
            upper = np.where(x_0 > 1 - half, np.inf, (x_0 + half - x_0_hat) / std)
            lower = np.where(x_0 < half - 1, -np.inf, (x_0 - half - x_0_hat) / std)
            sign = np.where(x_0 > x_0_hat, -1, 1)  # on the side where the two are not both nearly 1
            terms.append(-np.log(abs(scipy.special.ndtr(sign * upper) - scipy.special.ndtr(sign * lower))).sum(-1))
    return np.array(terms)


@pytest.mark.parametrize("num_levels", [17, None])
def test_every_term_in_numpy(x64, num_levels):
    """All variances, over all 50 steps and over some."""
    rng = np.random.default_rng(0)
    x_0 = (rng.integers(0, 17, (3, 4)) / 8 - 1) if num_levels else rng.normal(size=(3, 4))
    keys = jax.random.split(jax.random.key(1), 3)

    def predict(xp, x_t):
        return xp.tanh(0.8 * x_t), 0.5 + 0.4 * xp.sin(3 * x_t)

    def denoiser(x_t, t):
        x_0_hat, fraction = predict(jnp, x_t)
        return Prediction(x_0_hat, x_0_hat, fraction)

    def noise(stream):
        return np.asarray(
            arrays.normal_like(jax.vmap(lambda key: jax.random.fold_in(key, stream))(keys), jnp.asarray(x_0))
        )

    def terms(x_0, **options):
        return jax.jit(lambda x_0: variational_bound.terms(keys, denoiser, DISCRETE, x_0, **options))(x_0)

    betas = np.linspace(1e-3, 0.3, 50)
    for steps in (np.arange(50, 0, -1), np.array([50, 33, 8, 3, 1])):
        alpha_bar = np.cumprod(1 - betas)[steps - 1]
        streams = [*range(2, len(steps) + 1), 1]  # of the KL divergences, then of the decoder
        noisy = [bar**0.5 * x_0 + (1 - bar) ** 0.5 * noise(n) for bar, n in zip(alpha_bar, streams, strict=True)]
        for variance in ("small", "large", "learned") if len(steps) < 50 else ("learned",):
            options = {"times": steps / 50, "variance": variance, "num_levels": num_levels}
            found = terms(jnp.asarray(x_0), **options)
            expected = ddpm_terms(alpha_bar, x_0, noisy, functools.partial(predict, np), variance, num_levels)
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
        whole = jax.jit(lambda x_0, options=options: variational_bound.bound(keys, denoiser, DISCRETE, x_0, **options))(
            jnp.asarray(x_0)
        )
        np.testing.assert_allclose(whole.kl, expected[:-1].sum(0), rtol=1e-9)
        np.testing.assert_allclose(whole.decoder, expected[-1], rtol=1e-9)
        prior = alpha_bar[0] * x_0**2 / (1 - alpha_bar[0]) / 2
        np.testing.assert_allclose(whole.prior, prior.sum(-1), rtol=1e-9)
        np.testing.assert_allclose(whole.total, whole.prior + expected.sum(0), rtol=1e-9)
        assert not np.any(whole.standard_error)


@pytest.mark.parametrize(("mean_square", "bits"), [(1 / 3, 9.7e-6), (1 / 4, 7.3e-6)])
def test_the_prior_term_of_ddpm(mean_square, bits):
    """L_T of the linear schedule of 1,000 steps, in bits per dimension."""
    x_0 = jnp.full((1, 32, 32, 3), mean_square**0.5)
    found = reverse_steps.prior_term(schedules.Discrete.linear(), x_0)[0] / (3072 * np.log(2))
    assert abs(found - bits) < 0.05e-6


MIXTURE = denoisers.gaussian_mixture(schedules.Cosine(), [0.4, 0.6], [[-0.5, 0.2], [0.6, -0.1]], [0.2, 0.35])


def excess(denoiser, oracle, num, times, **options):
    """The bound less -log q(x_0) for data of an oracle: (mean, its standard error)."""

    @jax.jit
    def run(keys, denoiser):
        data_keys, keys = arrays.split_keys(keys, 2)
        x_0 = oracle.sample(data_keys)
        found = variational_bound.bound(keys, denoiser, oracle.schedule, x_0, times=times, **options)
        return found.total + oracle.log_density(x_0, 0.0)

    values = np.asarray(run(jax.random.split(jax.random.key(0), num), denoiser), np.float64)
    return values.mean(), values.std() / num**0.5


def test_the_bound_falls_to_the_likelihood_of_a_mixture_as_steps_grow():
    found = [excess(MIXTURE, MIXTURE, 1500, np.arange(num, 0, -1) / num, variance="large") for num in (10, 50, 500)]
    (coarse, error), (fine, _), (finest, last_error) = found
    assert coarse > 5 * error and coarse - fine > 5 * error
    assert abs(finest) < 4 * last_error


def test_drawn_steps_are_unbiased_with_their_standard_error():
    """Against all steps, example by example; and far better than steps drawn uniformly would be."""
    num, draws, times = 300, 20, np.arange(100, 0, -1) / 100
    keys = jax.random.split(jax.random.key(2), num)
    x_0 = jax.jit(MIXTURE.sample)(keys)

    @functools.partial(jax.jit, static_argnums=2)
    def run(keys, x_0, num_draws):
        options = {"times": times, "variance": "large", "num_draws": num_draws}
        return variational_bound.bound(keys, MIXTURE, MIXTURE.schedule, x_0, **options)

    every, some = run(keys, x_0, None), run(keys, x_0, draws)
    np.testing.assert_array_equal(some.decoder, every.decoder)
    np.testing.assert_array_equal(some.prior, every.prior)
    difference = np.asarray(some.kl - every.kl, np.float64)
    assert abs(difference.mean()) < 4 * difference.std() / num**0.5
    expected = np.sqrt(np.mean(difference**2))
    assert 0.8 < np.sqrt(np.mean(some.standard_error**2.0)) / expected < 1.2
    options = {"times": times, "variance": "large"}
    steps = jax.jit(lambda x_0: variational_bound.terms(keys, MIXTURE, MIXTURE.schedule, x_0, **options))(x_0)[:-1]
    uniformly = len(steps) * np.asarray(steps).std(0) / draws**0.5
    assert expected < 0.7 * np.sqrt(np.mean(uniformly**2))


MEAN, STD = 0.4, 0.5


@pytest.mark.parametrize("name", ["cosine", "variance_exploding"])
def test_the_exact_variance_makes_the_bound_of_four_steps_the_likelihood(name):
    """Of Gaussian data: q(x_s | x_t) is Gaussian, so that only the prior's own KL divergence is left.

    Its mean is the posterior's at E[x_0 | x_t], and its variance is small + x_0_factor^2 Var[x_0 | x_t].
    """
    schedule = schedules.Cosine() if name == "cosine" else schedules.VarianceExploding(0.05, 4.0)
    times = np.array([0.98, 0.7, 0.5, 0.2])
    steps = reverse_steps.chain(schedule, times)
    left = STD**2 * steps.sigma**2 / (steps.alpha**2 * STD**2 + steps.sigma**2)
    variances = np.where(steps.is_last, 0, np.exp(steps.log_small)) + steps.x_0_factor**2 * left
    fractions = (np.log(variances) - steps.log_small) / (steps.log_large - steps.log_small)
    oracle = denoisers.gaussian_mixture(schedule, [1.0], [[MEAN]], [STD])

    def exact(x, t):
        v = jnp.asarray(fractions, x.dtype)[jnp.argmin(jnp.abs(jnp.asarray(times, x.dtype)[None] - t[:, None]), axis=1)]
        return oracle(x, t)._replace(log_variance_fraction=v[:, None])

    found, error = excess(jax.tree_util.Partial(exact), oracle, 5_000, times, variance="learned")
    alpha, sigma = float(schedule.alpha(0.98)), float(schedule.sigma(0.98))
    ratio = (alpha**2 * STD**2 + sigma**2) / sigma**2
    expected = (ratio - 1 - np.log(ratio) + (alpha * MEAN / sigma) ** 2) / 2
    assert abs(found - expected) < 4 * error
    # The two fixed variances are far from it.
    for variance in ("small", "large") if name == "cosine" else ():
        other, _ = excess(oracle, oracle, 2_000, times, variance=variance)
        assert other > expected + 0.05


def test_the_optimal_denoiser_of_the_digits_has_one_of_them_to_guess():
    """Its bound falls to log2(1797) bits an image, 0.16893 bits per dimension: it is a memoriser."""
    digits = data.digits.load("all")
    images, schedule, num = jnp.asarray(digits.to_network_range(digits.examples)), schedules.Cosine(), 24
    x_0, keys = images[:: len(images) // num][:num], jax.random.split(jax.random.key(3), num)

    @functools.partial(jax.jit, static_argnums=3)
    def run(keys, denoiser, x_0, num_steps):
        options = {"times": np.arange(num_steps, 0, -1) / num_steps, "num_levels": 17}
        found = variational_bound.bound(keys, denoiser, schedule, x_0, **options)
        return found.total / (64 * np.log(2))

    denoiser = denoisers.empirical(schedule, images)
    coarse, fine, finest = (np.asarray(run(keys, denoiser, x_0, num), np.float64) for num in (10, 40, 120))
    expected = np.log2(1797) / 64
    assert abs(expected - 0.16893) < 1e-5
    assert coarse.mean() > 1 and fine.mean() > expected + 0.02
    assert abs(finest.mean() - expected) < 0.01 + 4 * finest.std() / num**0.5 and finest.mean() < fine.mean()


def test_what_cannot_be_is_refused():
    keys, x_0 = jax.random.split(jax.random.key(0), 2), jnp.full((2, 2), 0.3)

    def bound(keys=keys, **options):
        jax.eval_shape(lambda: variational_bound.bound(keys, MIXTURE, MIXTURE.schedule, x_0, **options))

    with pytest.raises(ValueError, match="variance = 'learned' needs a denoiser whose prediction has a log_variance"):
        bound(times=[1.0, 0.5], variance="learned")
    with pytest.raises(ValueError, match=r"needs data of 256 levels from -1 to 1, got 0.3: for points and dequantised"):
        bound(times=[1.0, 0.5], num_levels=256)
    with pytest.raises(ValueError, match="must be a vector that decreases strictly"):
        bound(times=[0.5, 1.0])
    with pytest.raises(ValueError, match="times must hold a noise level"):
        bound(times=[0.0])
    with pytest.raises(ValueError, match="num_draws must be >= 2"):
        bound(times=[1.0, 0.5], num_draws=1)
    with pytest.raises(ValueError, match="one key per sample"):
        bound(keys[:1], times=[1.0, 0.5])
