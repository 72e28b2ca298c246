"""Schedule, parameterization, weighting, training times and time input of a config, against their formulas in NumPy."""

import math
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import build, build_sampler, losses, processes, schedules
from diffax.processes import time_sampling
from tests.settings.changed import assert_complete, changed, chosen

T = 0.35  # a step of a discrete schedule of 20, the seventh
STEPS = 20


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def preserving(alpha_bar):
    return np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)


def integrated(beta_min, beta_max):
    return beta_min * T + (beta_max - beta_min) * T**2 / 2


def discrete(betas):
    return preserving(np.prod(1 - np.asarray(betas)[: round(T * STEPS)]))


def zero_terminal(betas):
    """arXiv:2305.08891, algorithm 1."""
    alpha = np.sqrt(np.cumprod(1 - np.asarray(betas)))
    alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    return preserving(alpha[round(T * STEPS) - 1] ** 2)


def falling_sigmoid(start, end, tau):
    low, high = sigmoid(start / tau), sigmoid(end / tau)
    return preserving((high - sigmoid((start + T * (end - start)) / tau)) / (high - low))


def learned_at_first(start, end, num):
    """log_snr of monotone features before training: t + sum_k 0.1 / num tanh(10 (t - (k + 1/2) / num)), scaled."""

    def g(t):
        return t + sum(0.1 / num * math.tanh(10 * (t - (k + 0.5) / num)) for k in range(num))

    return start + (end - start) * (g(T) - g(0)) / (g(1) - g(0))


LINEAR = np.linspace(0.001, 0.3, STEPS)
SCALED = np.linspace(0.001**0.5, 0.3**0.5, STEPS) ** 2
LOGISTIC = 0.001 + 0.299 * sigmoid(np.linspace(-6, 6, STEPS))
_ALPHA_BAR = np.cos((np.arange(STEPS + 1) / STEPS + 0.02) / 1.02 * np.pi / 2) ** 2
COSINE = np.minimum(1 - _ALPHA_BAR[1:] / _ALPHA_BAR[:-1], 0.1)
BETAS = {"num_steps": STEPS, "beta_start": 0.001, "beta_end": 0.3}
COSINE_OPTIONS = {"num_steps": STEPS, "s": 0.02, "max_beta": 0.1}
ZERO = {"zero_terminal_snr": True}
SD3_TIME = 3 * T / (1 + 2 * T)  # arXiv:2403.03206, eq. 23 with shift 3

# Name, options, class, (alpha, sigma) at T.
SCHEDULES = [
    ("cosine", {}, schedules.Cosine, (math.cos(math.pi / 2 * T), math.sin(math.pi / 2 * T))),
    (
        "linear_beta",
        {"beta_min": 0.5, "beta_max": 11.0},
        schedules.LinearBeta,
        preserving(np.exp(-integrated(0.5, 11.0))),
    ),
    ("sigmoid", {"start": -2.0, "end": 2.5, "tau": 0.7}, schedules.Sigmoid, falling_sigmoid(-2.0, 2.5, 0.7)),
    (
        "variance_exploding",
        {"sigma_min": 0.02, "sigma_max": 8.0},
        schedules.VarianceExploding,
        (1.0, 0.02 * (8.0 / 0.02) ** T),
    ),
    (
        "sub_vp",
        {"beta_min": 0.5, "beta_max": 11.0},
        schedules.SubVP,
        (np.exp(-integrated(0.5, 11.0) / 2), 1 - np.exp(-integrated(0.5, 11.0))),
    ),
    ("flow", {}, schedules.Flow, (1 - T, T)),
    ("discrete_linear", BETAS, schedules.Discrete, discrete(LINEAR)),
    ("discrete_linear", BETAS | ZERO, schedules.Discrete, zero_terminal(LINEAR)),
    ("discrete_scaled_linear", BETAS, schedules.Discrete, discrete(SCALED)),
    ("discrete_scaled_linear", BETAS | ZERO, schedules.Discrete, zero_terminal(SCALED)),
    ("discrete_sigmoid", BETAS, schedules.Discrete, discrete(LOGISTIC)),
    ("discrete_sigmoid", BETAS | ZERO, schedules.Discrete, zero_terminal(LOGISTIC)),
    ("discrete_cosine", COSINE_OPTIONS, schedules.Discrete, discrete(COSINE)),
    ("discrete_cosine", COSINE_OPTIONS | ZERO, schedules.Discrete, zero_terminal(COSINE)),
    ("shifted", {"base": "flow", "shift": -2 * math.log(3)}, schedules.Shifted, (1 - SD3_TIME, SD3_TIME)),
    (
        "learned",
        {"log_snr_start": 8.0, "log_snr_end": -3.0, "num_features": 9, "learning_rate": 0.02},
        schedules.Learned,
        preserving(sigmoid(learned_at_first(8.0, -3.0, 9))),
    ),
    (
        "shifted_for_resolution",
        {"base": "flow", "side": 96, "reference_side": 32},
        schedules.Shifted,
        (1 - SD3_TIME, SD3_TIME),
    ),
]


@pytest.mark.parametrize(("name", "options", "kind", "expected"), SCHEDULES)
def test_schedule(name, options, kind, expected):
    schedule = build.schedule(chosen("schedule", name, options))
    assert type(schedule) is kind
    np.testing.assert_allclose([schedule.alpha(np.float64(T)), schedule.sigma(np.float64(T))], expected, rtol=1e-9)


NOISES = [("normal", {}, processes.NormalNoise()), ("pfgmpp", {"dim": 64.0}, processes.PoissonFlowNoise(64.0))]


@pytest.mark.parametrize(("name", "options", "expected"), NOISES)
def test_noise(name, options, expected):
    assert build.noise(chosen("noise", name, options)) == expected


def test_samplers_that_add_noise_are_refused_where_it_is_not_normal():
    config = chosen("noise", "pfgmpp", {"dim": 64.0}, sampler="ddpm")
    with pytest.raises(ValueError, match="sampler 'ddpm' adds normal noise, and noise = 'pfgmpp' can only be sampled"):
        build_sampler.sampler_table(config, build.schedule(config), processes.V())
    config = chosen("noise", "pfgmpp", {"dim": 64.0}, sampler="ddim")
    assert not build_sampler.sampler_table(config, build.schedule(config), processes.V()).is_stochastic


ALPHA, SIGMA = math.cos(math.pi / 2 * T), math.sin(math.pi / 2 * T)  # the default schedule's
X, OUT = np.array([[0.3, -1.2]], np.float32), np.array([[0.8, 0.1]], np.float32)
ROOT = math.sqrt(SIGMA**2 + (ALPHA * 0.3) ** 2)
MEAN, VARIANCE = np.array([[0.5, -0.2]]), np.array([[0.2, 0.9]])
RESIDUAL = (X - ALPHA * MEAN) / (ALPHA**2 * VARIANCE + SIGMA**2)
KNOWN = MEAN + ALPHA * VARIANCE * RESIDUAL
# Name, options, class, the predicted x_0 of the raw output OUT at X, and the network's input.
PARAMETERIZATIONS = [
    ("eps", {}, processes.Eps, (X - SIGMA * OUT) / ALPHA, X),
    ("x_0", {}, processes.X0, OUT, X),
    ("v", {}, processes.V, ALPHA * X - SIGMA * OUT, X),
    ("flow", {}, processes.FlowVelocity, (X - SIGMA * OUT) / (ALPHA + SIGMA), X),
    ("score", {}, processes.Score, (X + SIGMA**2 * OUT) / ALPHA, X),
    ("edm", {"sigma_data": 0.3}, processes.Edm, ALPHA * 0.09 * X / ROOT**2 + SIGMA * 0.3 * OUT / ROOT, X / ROOT),
    ("edm_gaussian", {"sigma_data": 0.3}, processes.EdmGaussian, KNOWN + SIGMA * 0.3 * OUT / ROOT, X / ROOT),
    (
        "edm_gaussian",
        {"sigma_data": 0.3, "as_input": True},
        processes.EdmGaussian,
        KNOWN + SIGMA * 0.3 * OUT / ROOT,
        np.concatenate([X / ROOT, KNOWN, SIGMA * RESIDUAL], axis=1),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "kind", "expected", "network_input"), PARAMETERIZATIONS)
def test_parameterization(name, options, kind, expected, network_input):
    config = chosen("parameterization", name, options)
    parameterization = build.parameterization(config, processes.Moments(MEAN[0], VARIANCE[0], np.eye(2)))
    assert type(parameterization) is kind
    schedule, t = schedules.Cosine(), jnp.full(1, T)
    x_0, eps, _ = parameterization.predict(schedule, jnp.asarray(OUT), jnp.asarray(X), t)
    np.testing.assert_allclose(x_0, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ALPHA * x_0 + SIGMA * eps, X, rtol=1e-5, atol=1e-6)
    seen = parameterization.network_input(schedule, jnp.asarray(X), t)
    np.testing.assert_allclose(seen, network_input, rtol=1e-5)


SNR, DENSITY = np.array([0.04, 1.0, 30.0]), np.array([0.2, 0.4, 0.1])
# Name, options, class, weight of the eps error at SNR.
WEIGHTINGS = [
    ("uniform", {}, losses.weighting.Uniform, np.ones(3)),
    ("snr", {}, losses.weighting.Snr, np.ones(3)),
    ("truncated_snr", {}, losses.weighting.TruncatedSnr, np.maximum(1, 1 / SNR)),
    ("min_snr", {"gamma": 3.0}, losses.weighting.MinSnr, np.minimum(1, 3 / SNR)),
    ("p2", {"k": 0.7, "gamma": 0.5}, losses.weighting.P2, (0.7 + SNR) ** -0.5),
    ("sigmoid", {"bias": -1.5}, losses.weighting.Sigmoid, sigmoid(-1.5 - np.log(SNR)) / 2 / DENSITY),
    ("edm", {"sigma_data": 0.3}, losses.weighting.Edm, 1 + 1 / (SNR * 0.09)),
    ("velocity", {}, losses.weighting.Velocity, 1 + 1 / SNR),
    ("flow", {}, losses.weighting.Flow, (1 + SNR**-0.5) ** 2),
    ("variational", {}, losses.weighting.Variational, 0.5 / DENSITY),
    (
        "learned",
        {"sigma_data": 0.3, "num_features": 4, "learning_rate": 0.02},
        losses.weighting.Learned,
        1 + 1 / (SNR * 0.09),
    ),
]


@pytest.mark.parametrize(("name", "options", "kind", "expected"), WEIGHTINGS)
def test_weighting(name, options, kind, expected):
    weighting = build.weighting(chosen("loss.weighting", name, options))
    assert type(weighting) is kind
    got = weighting(jnp.asarray(np.log(SNR), jnp.float32), jnp.asarray(np.log(DENSITY), jnp.float32))
    np.testing.assert_allclose(np.exp(got), expected, rtol=1e-5)


KEYS = jax.random.split(jax.random.key(0), 64)
U = np.asarray(jax.vmap(jax.random.uniform)(KEYS), float)
NORMAL = np.array([statistics.NormalDist().inv_cdf(u) for u in U])
STRATA = np.array([statistics.NormalDist().inv_cdf(u) for u in (np.arange(64) + U) / 64])
# Name, options, class, times of U under the cosine schedule, t = 2 / pi arctan(sigma / alpha).
TIME_DENSITIES = [
    ("uniform", {"low": 0.1, "high": 0.6}, time_sampling.Uniform, 0.1 + 0.5 * U),
    ("discrete_uniform", {"num_steps": 7}, time_sampling.DiscreteUniform, (np.floor(7 * U) + 1) / 7),
    ("fixed", {"t": 0.75}, time_sampling.Fixed, np.full(64, 0.75)),
    ("logit_normal", {"mean": 0.4, "std": 0.6}, time_sampling.LogitNormal, sigmoid(0.4 + 0.6 * NORMAL)),
    (
        "log_normal_sigma",
        {"mean": -0.5, "std": 0.8},
        time_sampling.LogNormalSigma,
        2 / np.pi * np.arctan(np.exp(-0.5 + 0.8 * NORMAL)),
    ),
    (
        "loss_second_moment",
        {"num_steps": 7, "history_length": 3, "uniform_share": 0.1},
        processes.importance_sampling.LossSecondMoment,
        (np.floor(7 * U) + 1) / 7,  # before there are losses
    ),
]


@pytest.mark.parametrize(("name", "options", "kind", "expected"), TIME_DENSITIES)
def test_time_density(name, options, kind, expected):
    density = build.time_density(chosen("loss.time_density", name, options))
    assert type(density) is kind
    np.testing.assert_allclose(density.sample(KEYS, schedules.Cosine()), expected, rtol=1e-4, atol=1e-5)


def test_stratified():
    """One time from each slice of probability, of the chosen density."""
    options = {"mean": 0.4, "std": 0.6}
    density = build.time_density(chosen("loss.time_density", "logit_normal", options, loss__stratified=True))
    times = np.asarray(density.sample(KEYS, schedules.Cosine()))
    np.testing.assert_allclose(times, sigmoid(0.4 + 0.6 * STRATA), rtol=1e-3)
    assert np.all(np.diff(times) > 0)
    independent = build.time_density(chosen("loss.time_density", "logit_normal", options, loss__stratified=False))
    assert np.any(np.diff(independent.sample(KEYS, schedules.Cosine())) < 0)


def test_options_of_times_that_follow_the_losses():
    """Shares 0.9 m / sum(m) + 0.1 / 2 of the roots of the second moments m of the latest three losses."""
    options = {"num_steps": 2, "history_length": 3, "uniform_share": 0.1}
    density = build.time_density(chosen("loss.time_density", "loss_second_moment", options))
    history, t = density.init_history(), jnp.asarray([0.5, 1, 0.5, 1, 0.5, 1])
    assert history.losses.shape == (2, 3)
    density = density.with_history(density.with_history(history).updated(t, jnp.asarray([3.0, 1, 3, 1, 3, 1])))
    np.testing.assert_allclose(density.probabilities(), [0.9 * 0.75 + 0.05, 0.9 * 0.25 + 0.05], rtol=1e-5)
    with pytest.raises(
        ValueError, match=r"loss.stratified is for densities that stay as they are, and 'loss_second_mo"
    ):
        build.time_density(chosen("loss.time_density", "loss_second_moment", {}, loss__stratified=True))


def test_a_chain_has_the_length_of_the_schedule():
    settings = {"schedule": "discrete_cosine", "schedule.num_steps": 40, "loss": "hybrid"}
    for density in ("discrete_uniform", "loss_second_moment"):
        config = changed(settings | {"loss.time_density": density})
        assert config.loss.num_steps == config.loss.time_density.num_steps == 40
    assert changed(settings | {"loss.num_steps": 8}).loss.num_steps == 8
    assert changed({"loss": "hybrid"}).loss.num_steps == 1000


# Name, schedule, value at T.
TIME_INPUTS = [
    ("index", "discrete_linear", round(1000 * T) - 1),
    ("scaled", "cosine", 999 * T),
    ("unscaled", "cosine", T),
    ("quarter_log_sigma", "cosine", math.log(SIGMA / ALPHA) / 4),
    ("log_snr", "cosine", 2 * math.log(ALPHA / SIGMA)),
]


@pytest.mark.parametrize(("name", "schedule", "expected"), TIME_INPUTS)
def test_time_input(name, schedule, expected):
    config = changed({"model.time_input": name, "schedule": schedule})
    schedule = build.schedule(config)
    np.testing.assert_allclose(build.time_input(config, schedule)(schedule, np.full(1, T)), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("path", "cases"),
    [
        ("schedule", SCHEDULES),
        ("noise", NOISES),
        ("parameterization", PARAMETERIZATIONS),
        ("loss.weighting", WEIGHTINGS),
        ("loss.time_density", TIME_DENSITIES),
        ("model.time_input", [(name, {}) for name, *_ in TIME_INPUTS]),
    ],
)
def test_every_name_and_option_is_here(path, cases):
    assert_complete(path, [case[:2] for case in cases])
