"""What is learned beside the network: a schedule's variance and a weighting's uncertainty, against known optima."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, losses, processes, schedules, training
from diffax.likelihood import continuous_bound
from diffax.losses import weighting
from diffax.processes import time_sampling
from diffax.training.state import sample_keys

BATCH, STD = 256, 0.7
MIXTURE = [0.4, 0.6], [[-0.8, 0.3], [0.7, -0.4]], [0.05, 0.1]
SCHEDULE = schedules.Learned.initial(10.0, -6.0, num_features=32, learning_rate=0.1)
HYPERPARAMETERS = training.Hyperparameters(
    learning_rate=0.1,
    averagings=(training.ema.Constant(0.9),),
    schedule=SCHEDULE,
    parameterization=processes.Eps(),
    weighting=weighting.Variational(),
    time_density=time_sampling.Uniform(),
)


def loss_of(eps_of):
    """A BatchLoss whose network is eps_of(params, schedule, x_t, t)."""

    def loss(params, hyperparameters, batch, keys, t=None, /):
        schedule = hyperparameters.schedule
        return losses.denoising(
            keys,
            lambda x_t, t, *, key: eps_of(params, schedule, x_t, t),
            schedule,
            hyperparameters.parameterization,
            batch["x"],
            weighting=hyperparameters.weighting,
            time_density=hyperparameters.time_density,
            t=t,
        )

    return loss


def of_mixture(params, schedule, x_t, t):
    return denoisers.gaussian_mixture(schedule, *MIXTURE)(x_t, t).eps


def of_gaussian(params, schedule, x_t, t):
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    return params["w"] * sigma * x_t / (alpha**2 * STD**2 + sigma**2)


def of_noise(params, schedule, x_t, t):
    return params["w"] * jnp.tanh(x_t)


def state_of(hyperparameters, seed=0):
    params = {"w": jnp.ones((1, 1))}
    return training.init_state(seed, lambda key: params, training.adam(), hyperparameters)


def trained(loss, hyperparameters, sample, num_steps, shape=lambda step: 1.0):
    """The state after steps on fresh data, and the last metrics."""
    step = training.make_train_step(loss, training.adam(), shape)

    def on_fresh_data(state, index):
        return step(state, {"x": sample(jax.random.split(jax.random.fold_in(jax.random.key(9), index), BATCH))})

    return jax.jit(functools.partial(jax.lax.scan, on_fresh_data))(state_of(hyperparameters), jnp.arange(num_steps))


def moments_of_the_error(data):
    """(log-SNRs, mean |eps error|^2 there, mean of its square): what the variance under any schedule follows from."""
    log_snr, num = np.linspace(-6.0, 10.0, 33), 4000
    exact = denoisers.gaussian_mixture(SCHEDULE, *MIXTURE)

    @jax.jit
    def squared_error(t, key):
        keys = jax.random.split(key, (2, num))
        eps = jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys[1])
        x_t = processes.diffuse(SCHEDULE, data.sample(keys[0]), eps, t)
        return ((exact(x_t, t).eps - eps) ** 2).sum(1)

    times = np.float32(SCHEDULE.t_of_log_snr(log_snr))
    errors = np.stack([squared_error(t, jax.random.fold_in(jax.random.key(7), i)) for i, t in enumerate(times)])
    return log_snr, errors.mean(1, dtype=float), (errors.astype(float) ** 2).mean(1)


def test_a_learned_schedule_lowers_the_variance_of_the_bound_and_leaves_its_mean():
    """VDM (arXiv:2107.00630, section 5.2 and appendix I.2), with the exact denoiser of a mixture.

    With m_1 and m_2 the moments of |eps error|^2, uniform times under a schedule of density p per unit of log-SNR give
    the bound's estimate the mean int m_1 / 2 and the variance int m_2 / (4 p) - mean^2, least where p ~ sqrt(m_2).
    """
    data = denoisers.gaussian_mixture(schedules.Cosine(), *MIXTURE)
    fixed = dataclasses.replace(HYPERPARAMETERS, learning_rate=0.0)
    state, _ = trained(loss_of(of_mixture), fixed, data.sample, 300, lambda step: jnp.exp(-step / 100.0))
    learned = training.learned.applied(state.hyperparameters, state.learned).schedule
    t = np.linspace(0, 1, 101)
    in_float64 = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), learned)
    assert np.all(np.diff(in_float64.log_snr(t)) < 0)
    np.testing.assert_allclose(in_float64.log_snr(np.array([0.0, 1.0])), [10.0, -6.0], rtol=1e-6)
    np.testing.assert_allclose(in_float64.t_of_log_snr(in_float64.log_snr(t)), t, atol=1e-12)

    points = data.sample(jax.random.split(jax.random.key(1), 10_000))
    keys = jax.random.split(jax.random.key(2), 10_000)

    @jax.jit
    def bound(schedule):
        denoiser = denoisers.gaussian_mixture(schedule, *MIXTURE)
        return continuous_bound.terms(keys, denoiser, schedule, points, times=(0.0, 1.0)).diffusion

    before, after = (np.asarray(bound(schedule), float) for schedule in (SCHEDULE, learned))
    error = (before.var() / 10_000 + after.var() / 10_000) ** 0.5
    assert abs(before.mean() - after.mean()) < 4 * error < 0.12 * before.mean()
    log_snr, first, second = moments_of_the_error(data)
    mean = np.trapezoid(first, log_snr) / 2
    linear, least = (
        16 * np.trapezoid(second, log_snr) / 4 - mean**2,
        np.trapezoid(second**0.5, log_snr) ** 2 / 4 - mean**2,
    )
    assert abs(after.mean() - mean) < 4 * error
    assert before.var() == pytest.approx(linear, rel=0.15)
    # 2.3 times less is possible.
    assert 0.85 * least < after.var() < 1.6 * least < 0.75 * linear


def test_the_learned_weight_becomes_one_over_the_mean_loss_at_each_noise_level():
    """u(sigma) = log(lambda SNR s^2 / (1 + SNR s^2)): the exact denoiser of N(0, s^2) has that mean |eps error|^2."""
    rule = weighting.Learned.initial(1.0, num_features=32, learning_rate=0.05)
    hyperparameters = dataclasses.replace(
        HYPERPARAMETERS,
        schedule=schedules.VarianceExploding(0.02, 20.0),
        weighting=rule,
        learning_rate=0.0,
    )
    state, metrics = trained(
        loss_of(of_gaussian),
        hyperparameters,
        lambda keys: STD * jax.vmap(lambda key: jax.random.normal(key, (8,)))(keys),
        500,
        lambda step: jnp.exp(-step / 120.0),
    )
    learned = training.learned.applied(state.hyperparameters, state.learned).weighting
    log_snr = np.linspace(6.0, -5.0, 12)
    snr = np.exp(log_snr)
    expected = np.log((1 + 1 / snr) * snr * STD**2 / (1 + snr * STD**2))
    assert np.ptp(expected) > 0.3
    np.testing.assert_allclose(learned.log_loss(jnp.asarray(log_snr, jnp.float32)), expected, atol=0.06)
    assert float(metrics["loss"][-50:].mean()) == pytest.approx(1, abs=0.03)


def both(num_parts, **changes):
    """(state before, its batch, state after) of a step with learned schedule and weighting."""
    rule = weighting.Learned.initial(0.5, num_features=8)
    rule = dataclasses.replace(rule, parameters={"weights": np.full(8, 0.3), "bias": np.full((), 0.2)})
    hyperparameters = dataclasses.replace(HYPERPARAMETERS, weighting=rule, **changes)
    state = state_of(hyperparameters)
    batch = {"x": jnp.asarray(np.random.default_rng(0).standard_normal((8, 2)), jnp.float32)}
    step = training.make_train_step(loss_of(of_noise), training.adam(), lambda step: 1.0, accumulate=num_parts)
    return state, batch, jax.jit(step)(state, batch)


def test_each_part_gets_the_gradient_of_its_own_objective():
    """Against jax.grad of mean L, mean L^2 and mean L + u by themselves; in parts of a batch as at once."""
    state, batch, (after, metrics) = both(1)
    keys, loss = sample_keys(state.key, state.step, 8), loss_of(of_noise)
    t = losses.draw_times(arrays_keys(keys), SCHEDULE, time_sampling.Uniform())

    def batch_losses(params, parameters):
        hyperparameters = training.learned.applied(state.hyperparameters, {"parameters": parameters})
        return loss(params, hyperparameters, batch, keys, t), hyperparameters

    @jax.jit
    def by_themselves(params, parameters):
        def squares(part):
            return (batch_losses(params, parameters | {"schedule": part})[0] ** 2).mean()

        def with_uncertainty(part):
            values, hyperparameters = batch_losses(params, parameters | {"weighting": part})
            return (values + hyperparameters.weighting.log_loss(hyperparameters.schedule.log_snr(t))).mean()

        return jax.grad(lambda params: batch_losses(params, parameters)[0].mean())(params), {
            "schedule": jax.grad(squares)(parameters["schedule"]),
            "weighting": jax.grad(with_uncertainty)(parameters["weighting"]),
        }

    assert sorted(state.learned["parameters"]) == ["schedule", "weighting"]
    of_network, expected = by_themselves(state.params, state.learned["parameters"])
    np.testing.assert_allclose(metrics["grad_norm"], jnp.abs(of_network["w"]).sum(), rtol=1e-5)
    for accumulated in (after, both(2)[2][0]):
        # Adam's first moment after one step is a tenth of the gradient.
        jax.tree.map(
            lambda moment, gradient: np.testing.assert_allclose(moment, 0.1 * gradient, rtol=1e-4, atol=1e-6),
            accumulated.learned["opt_state"].mu,
            expected,
        )
    assert np.all(after.learned["parameters"]["weighting"]["weights"] != 0.3)


def arrays_keys(keys):
    """The keys that losses.denoising is given by training.make_loss, whose times the step draws."""
    return jax.vmap(lambda key: jax.random.split(key, 2)[0])(keys)


def test_a_step_that_is_not_finite_changes_nothing_that_is_learned():
    state, loss = state_of(HYPERPARAMETERS), loss_of(lambda *_: jnp.full((8, 2), jnp.nan))
    step = jax.jit(training.make_train_step(loss, training.adam(), lambda step: 1.0))
    after, metrics = step(state, {"x": jnp.ones((8, 2))})
    assert int(metrics["skipped"]) == 1
    jax.tree.map(np.testing.assert_array_equal, after.learned, state.learned)


def test_a_part_within_another_is_found_and_saved():
    shifted = schedules.Shifted(SCHEDULE, 0.5)
    state = state_of(dataclasses.replace(HYPERPARAMETERS, schedule=shifted))
    assert list(state.learned["parameters"]) == ["schedule/base"]
    moved = jax.tree.map(lambda leaf: leaf + 1, state.learned)
    other = dataclasses.replace(state, learned=moved)
    back = state.with_saved(other.saved())
    jax.tree.map(np.testing.assert_array_equal, back.learned, moved)
    current = training.learned.applied(back.hyperparameters, back.learned)
    np.testing.assert_allclose(current.schedule.base.parameters["centre"], SCHEDULE.parameters["centre"] + 1, rtol=1e-6)
    plain = state_of(dataclasses.replace(HYPERPARAMETERS, schedule=schedules.Cosine()))
    assert plain.learned == {} and "learned" not in plain.saved()
