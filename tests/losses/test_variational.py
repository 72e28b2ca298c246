"""The hybrid loss and the variational bound as losses, against DDPM's formulas in float64 NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from diffax import denoisers, losses, processes, schedules
from diffax.likelihood import variational_bound as likelihood
from diffax.losses import _variational, weighting
from diffax.processes import time_sampling
from diffax.typing import Prediction
from tests.cases import PARAMETERIZATIONS

NUM = 12  # steps
SCHEDULE = schedules.Discrete.cosine(NUM)
TIMES = (np.arange(NUM) + 1) / NUM
KEYS = jax.random.split(jax.random.key(0), NUM)
RNG = np.random.default_rng(0)
X_0 = RNG.integers(0, 17, (NUM, 5)) / 8 - 1
NOISE = RNG.normal(size=(NUM, 5))
SETTINGS = {"weighting": weighting.Uniform(), "time_density": time_sampling.DiscreteUniform(NUM), "num_steps": NUM}


def alpha_bar():
    """arXiv:2102.09672, eq. 17, with its largest beta of 0.999."""
    f = np.cos((np.arange(NUM + 1) / NUM + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.cumprod(1 - np.minimum(1 - f[1:] / f[:-1], 0.999))


def network(params, x_t):
    """Raw outputs eps with a learned variance v in [-1, 1], or without one."""
    if params is None:
        return x_t
    return jnp.concatenate([params["mean"] * x_t, jnp.tanh(params["variance"] * x_t)], axis=-1)


PARAMS = {"mean": 0.6, "variance": 0.4}


def loss_of(loss, params=PARAMS, **options):
    def predict(x_t, t, *, key):
        return network(params, x_t)

    arguments = (KEYS, predict, SCHEDULE, processes.Eps(), jnp.asarray(X_0))
    given = {"eps": jnp.asarray(NOISE), "t": jnp.asarray(TIMES), "num_levels": 17}
    return jax.jit(lambda: loss(*arguments, **SETTINGS | given | options))()


def expected_bound():
    """Improved DDPM's terms, the v-th of them at example v, times the number of steps, in bits per dimension."""
    bar = alpha_bar()[:, None]
    previous = np.append(1.0, alpha_bar()[:-1])[:, None]
    beta = 1 - bar / previous
    posterior = beta * (1 - previous) / (1 - bar)
    posterior[0] = posterior[1]
    x_t = np.sqrt(bar) * X_0 + np.sqrt(1 - bar) * NOISE
    x_0_hat = (x_t - np.sqrt(1 - bar) * 0.6 * x_t) / np.sqrt(bar)
    fraction = (np.tanh(0.4 * x_t) + 1) / 2
    log_variance = fraction * np.log(beta) + (1 - fraction) * np.log(posterior)
    factor = np.sqrt(previous) * beta / (1 - bar)
    kl = posterior / np.exp(log_variance) + (factor * (X_0 - x_0_hat)) ** 2 / np.exp(log_variance)
    kl = (kl - 1 + log_variance - np.log(posterior)) / 2
    std = np.exp(log_variance / 2)
    upper = np.where(X_0 > 1 - 1 / 16, np.inf, (X_0 + 1 / 16 - x_0_hat) / std)[0]
    lower = np.where(X_0 < 1 / 16 - 1, -np.inf, (X_0 - 1 / 16 - x_0_hat) / std)[0]
    kl[0] = -np.log(scipy.special.ndtr(upper) - scipy.special.ndtr(lower))  # the last step's term is the decoder's
    return NUM * kl.mean(1) / np.log(2), x_t


def test_the_bound_at_every_step_in_numpy(x64):
    expected, x_t = expected_bound()
    np.testing.assert_allclose(loss_of(losses.variational_bound), expected, rtol=1e-8)
    simple = np.mean((0.6 * x_t - NOISE) ** 2, axis=1)
    np.testing.assert_allclose(loss_of(losses.hybrid), simple + 0.001 * expected, rtol=1e-8)
    np.testing.assert_allclose(loss_of(losses.hybrid, bound_weight=0.5), simple + 0.5 * expected, rtol=1e-8)


def test_the_bound_trains_the_variance_alone_in_the_hybrid_loss():
    """Its gradient is that of the simple loss in the mean, and that of the bound, times lambda, in the variance."""

    def slopes(loss, **options):
        return jax.jit(jax.grad(lambda params: loss_of(loss, params, **options).mean()))(PARAMS)

    def simple(keys, predict, *arguments, num_steps, num_levels, **options):
        return losses.denoising(keys, lambda *x, key: predict(*x, key=key)[:, :5], *arguments, **options)

    hybrid, bound, mean = slopes(losses.hybrid), slopes(losses.variational_bound), slopes(simple)
    assert abs(bound["mean"]) > 0.1 and abs(bound["variance"]) > 0.01 and mean["variance"] == 0
    np.testing.assert_allclose(hybrid["mean"], mean["mean"], rtol=1e-5)
    np.testing.assert_allclose(hybrid["variance"], 0.001 * bound["variance"], rtol=1e-4)


def test_the_mean_of_the_loss_is_the_bound_of_the_likelihood():
    """Of a denoiser that does not depend on the noise; fixed variances, and a Gaussian decoder."""
    schedule, num = schedules.Cosine(), 50
    x_0 = jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32)
    keys = jax.random.split(jax.random.key(1), 3)
    settings = {"weighting": weighting.Uniform(), "time_density": time_sampling.Uniform(), "num_steps": num}

    @functools.partial(jax.jit, static_argnums=1)
    def loss(t, variance):
        raw = jnp.concatenate([0.9 * x_0, jnp.full_like(x_0, -0.4)], axis=-1)
        arguments = (keys, lambda x_t, t, *, key: raw, schedule, processes.X0(), x_0)
        options = {"decoder": "gaussian", "variance": variance, "t": t}
        return losses.variational_bound(*arguments, **settings, **options)

    for variance in ("learned", "large"):
        each = [loss(jnp.full(3, step / num), variance) for step in range(1, num + 1)]
        found = np.mean(np.asarray(each, np.float64), axis=0)
        options = {"times": np.arange(num, 0, -1) / num, "variance": variance}
        arguments = (lambda x_t, t: Prediction(0.9 * x_0, x_t, jnp.full_like(x_0, 0.3)), schedule, x_0)
        expected = jax.jit(lambda keys, a=arguments, o=options: likelihood.bound(keys, *a, **o))(keys)
        np.testing.assert_allclose(found * 4 * np.log(2), expected.kl + expected.decoder, rtol=1e-4)


def test_every_parameterization_has_the_same_bound():
    """Raw outputs that mean the same prediction."""
    schedule, t = schedules.Cosine(), jnp.asarray(TIMES[:-1], jnp.float32)
    x_0, noise = jnp.asarray(X_0[:-1], jnp.float32), jnp.asarray(NOISE[:-1], jnp.float32)
    found = {}
    for name, parameterization in PARAMETERIZATIONS.items():

        def predict(x_t, t, *, key, parameterization=parameterization):
            x_0_hat = 0.7 * x_0
            alpha, sigma = (value(t)[:, None] for value in (schedule.alpha, schedule.sigma))
            raw = parameterization.target(schedule, x_0_hat, (x_t - alpha * x_0_hat) / sigma, t)
            return jnp.concatenate([raw, 0 * raw + 0.2], axis=-1)

        arguments = (KEYS[:-1], predict, schedule, parameterization, x_0)
        options = {"eps": noise, "t": t, "num_levels": 17, "bound_weight": 1e6}
        found[name] = jax.jit(functools.partial(losses.hybrid, *arguments, **SETTINGS, **options))()
    for name, bound in found.items():
        np.testing.assert_allclose(bound, found["x_0"], rtol=2e-4, err_msg=name)


@pytest.mark.parametrize("num", [3, 1000, 4000])
def test_times_are_rounded_up_to_the_chain(num):
    def rounded(t):
        return _variational._on_the_chain(KEYS, SCHEDULE, time_sampling.Uniform(), jnp.asarray(t, jnp.float32), num)

    steps = np.arange(1, num + 1) / num
    np.testing.assert_allclose(rounded(steps), steps, rtol=1e-6)
    np.testing.assert_allclose(rounded(steps - 0.5 / num), steps, rtol=1e-6)
    np.testing.assert_allclose(rounded([0.0, 1e-9]), 1 / num, rtol=1e-6)


def test_what_cannot_be_is_refused(unchecked):
    with pytest.raises(
        ValueError, match=r"loss.decoder = 'discretized' is for images of discrete levels, and these data"
    ):
        loss_of(losses.hybrid, num_levels=None)
    with pytest.raises(ValueError, match=r"loss.decoder must be one of discretized, gaussian, got 'tanh'"):
        losses.decoder_levels("tanh", 17)
    with pytest.raises(ValueError, match="a chain needs num_steps >= 2, got 1"):
        loss_of(losses.hybrid, num_steps=1)
    with pytest.raises(ValueError, match="variance = 'learned' needs a denoiser whose prediction has a log_variance"):
        loss_of(losses.hybrid, params=None)
    with pytest.raises(ValueError, match="variance must be small, large or learned, got 'none'"):
        loss_of(losses.variational_bound, variance="none")
    raw, fraction = denoisers.split_variance(jnp.ones((2, 4)), jnp.ones((2, 2)))
    assert raw.shape == fraction.shape == (2, 2) and denoisers.split_variance(raw, raw)[1] is None
