"""DDPM and DDIM step by step against their papers' formulas, in the papers' letters, in float64 NumPy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import arrays, denoisers, processes, samplers, schedules
from diffax.typing import Prediction

BETAS = np.linspace(1e-4, 0.02, 1000)
ALPHA_BAR = np.concatenate([[1.0], np.cumprod(1 - BETAS)])
SCHEDULE = schedules.Discrete(BETAS)
KEYS = jax.random.split(jax.random.key(0), 16)
START = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
# Shapes of grids: all spacings, a single step, all steps.
GRIDS = [*((20, spacing) for spacing in samplers.grids.SPACINGS), (1, "trailing"), (1000, "leading")]
run = jax.jit(samplers.run, static_argnames=("denoiser", "save_every"))


def velocity(x, t):
    """A network with a bounded output v."""
    return arrays.namespace(x).tanh(1.5 * x + t)


def denoiser(x, t):
    return processes.V().predict(SCHEDULE, velocity(x, t), x, t)


def eps_of(x, i):
    """The same network's eps, where alpha_bar is that of i steps."""
    return np.sqrt(1 - ALPHA_BAR[i]) * x + np.sqrt(ALPHA_BAR[i]) * velocity(x, i / 1000)


@functools.cache
def noise_of(rows):
    """The noise of every row: what a table shows that puts out nothing else."""
    table = samplers.make_table("noise", SCHEDULE, np.linspace(1, 0.1, rows), c=np.ones(rows))
    _, noise = run(KEYS, denoiser, table, jnp.zeros_like(START), save_every=1)
    return np.asarray(noise, np.float64)


def states_of(table):
    _, states = run(KEYS, denoiser, table, START, save_every=1)
    return np.asarray(states, np.float64)


def steps_of(num_steps, spacing):
    """[(number of steps behind x, number of steps behind the next x)], from noise down to data."""
    i = np.round(samplers.grids.discrete(1000, num_steps, spacing=spacing) * 1000).astype(int)
    return list(itertools.pairwise(i))


def ddpm_states(steps, noise, variance):
    """arXiv:2006.11239, algorithm 2, with alpha = alpha_bar / alpha_bar of the step before, whatever the stride."""
    x, states = START.astype(np.float64), []
    for z, (i, before) in zip(noise, steps, strict=True):
        alpha = ALPHA_BAR[i] / ALPHA_BAR[before]
        beta = 1 - alpha
        small = beta * (1 - ALPHA_BAR[before]) / (1 - ALPHA_BAR[i])
        std = np.sqrt({"small": small, "large": beta}[variance]) if before > 0 else 0
        x = (x - beta / np.sqrt(1 - ALPHA_BAR[i]) * eps_of(x, i)) / np.sqrt(alpha) + std * z
        states.append(x)
    return np.array(states)


def ddim_states(steps, noise, eta):
    """arXiv:2010.02502, eq. 12 and 16; its alpha is alpha_bar here."""
    x, states = START.astype(np.float64), []
    for z, (i, before) in zip(noise, steps, strict=True):
        now, then = ALPHA_BAR[i], ALPHA_BAR[before]
        std = eta * np.sqrt((1 - then) / (1 - now)) * np.sqrt(1 - now / then)
        eps = eps_of(x, i)
        x_0 = (x - np.sqrt(1 - now) * eps) / np.sqrt(now)
        x = np.sqrt(then) * x_0 + np.sqrt(1 - then - std**2) * eps + std * z
        states.append(x)
    return np.array(states)


# States are of size one to three, and each of 1,000 rows in float32 rounds them by 1e-7: a random walk of 1e-5, and up
# to 2.1e-5 on jax 0.12.
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize(("num_steps", "spacing"), GRIDS)
def test_ddpm_is_the_paper_s_step_by_step(num_steps, spacing, variance):
    table = samplers.ddpm(SCHEDULE, samplers.grids.discrete(1000, num_steps, spacing=spacing), variance=variance)
    expected = ddpm_states(steps_of(num_steps, spacing), noise_of(num_steps), variance)
    assert table.num_evaluations == num_steps
    np.testing.assert_allclose(states_of(table), expected, rtol=1e-5, atol=3e-5)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("num_steps", "spacing"), GRIDS)
def test_ddim_is_the_paper_s_step_by_step(num_steps, spacing, eta):
    table = samplers.ddim(SCHEDULE, samplers.grids.discrete(1000, num_steps, spacing=spacing), eta=eta)
    expected = ddim_states(steps_of(num_steps, spacing), noise_of(num_steps), eta)
    assert table.num_evaluations == num_steps
    assert table.is_stochastic == (eta > 0 and num_steps > 1)
    np.testing.assert_allclose(states_of(table), expected, rtol=1e-5, atol=3e-5)


@pytest.mark.parametrize("num_steps", [1000, 20])
def test_ddim_of_eta_1_is_ddpm_with_small_variance(num_steps):
    times = samplers.grids.discrete(1000, num_steps)
    ddim, ddpm = samplers.ddim(SCHEDULE, times, eta=1.0), samplers.ddpm(SCHEDULE, times)
    # With x = alpha x_0 + sigma eps, the coefficients of x_0 and eps are the same numbers.
    alpha, sigma = SCHEDULE.alpha(times[:-1]), SCHEDULE.sigma(times[:-1])
    np.testing.assert_allclose(ddpm.a * alpha + ddpm.b[:, 0], ddim.b[:, 0], rtol=1e-9)
    np.testing.assert_allclose(ddpm.a * sigma, ddim.e[:, 0], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(ddpm.c, ddim.c, rtol=1e-12)
    np.testing.assert_allclose(states_of(ddpm), states_of(ddim), rtol=1e-5, atol=2e-5)


def test_on_the_flow_schedule_ddim_is_euler_s_method_of_rectified_flow():
    """arXiv:2209.03003: x moves along u by the difference of times."""
    times = samplers.grids.uniform(25)
    network = denoisers.from_network(
        lambda params, x, time_input, condition, *, key=None: jnp.tanh(params * x + time_input[:, None]),
        1.5,
        schedules.Flow(),
        processes.FlowVelocity(),
        time_input=lambda schedule, t: t,
    )
    _, states = jax.jit(samplers.run, static_argnames="save_every")(
        None, network, samplers.ddim(schedules.Flow(), times), START, save_every=1
    )
    x = START.astype(np.float64)
    for state, t, s in zip(states, times[:-1], times[1:], strict=True):
        x = x + (s - t) * np.tanh(1.5 * x + t)
        np.testing.assert_allclose(state, x, rtol=1e-5, atol=1e-5)


def test_the_row_that_to_data_appends_gives_the_predicted_data():
    schedule = schedules.VarianceExploding(0.01, 10.0)
    times = samplers.grids.karras(schedule, 5)
    for method in (samplers.ddim, samplers.ddpm):
        table = samplers.to_data(method(schedule, times), times[-1])
        assert table.num_evaluations == 6 and table.times[-1] == 0
        _, states = run(KEYS, denoiser, table, START, save_every=1)
        np.testing.assert_allclose(states[-1], denoiser(states[-2], 0.0).x_0, atol=1e-6)


def test_euler_for_variance_exploding_is_k_diffusion_s():
    """dx/dsigma = (x - D) / sigma, one Euler step a row: sample_euler of k-diffusion, EDM without its correction."""
    schedule = schedules.VarianceExploding(0.01, 10.0)
    times = samplers.grids.karras(schedule, 12)

    def denoised(x, sigma):
        return arrays.namespace(x).tanh(x) / (1 + sigma)

    def of_sigma(x, t):
        sigma = schedule.sigma(t)
        return Prediction(denoised(x, sigma), (x - denoised(x, sigma)) / sigma)

    x, sigmas = 10 * START.astype(np.float64), [*0.01 * 1000**times, 0.0]
    result = run(None, of_sigma, samplers.to_data(samplers.ddim(schedule, times), 0.0), jnp.float32(x))
    for sigma, then in itertools.pairwise(sigmas):
        x = x + (then - sigma) * (x - denoised(x, sigma)) / sigma
    np.testing.assert_allclose(result, x, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda times: samplers.ddim(SCHEDULE, times[::-1], eta=0.5), "times must be decreasing, got 0 to 1"),
        (lambda times: samplers.ddpm(SCHEDULE, times[::-1]), "times must be decreasing, got 0 to 1"),
        (lambda times: samplers.ddim(SCHEDULE, [1.0, 0.5, 0.5]), "strictly monotone, got 0.5 and then 0.5 at row 1"),
        (lambda times: samplers.ddim(SCHEDULE, times, eta=-0.1), "eta must be >= 0, got -0.1"),
        (lambda times: samplers.ddim(SCHEDULE, times, eta=float("nan")), "eta must be >= 0, got nan"),
        (lambda times: samplers.ddim(SCHEDULE, times, eta=3.0), "eta = 3 asks for more noise than sigma at row 0"),
        (lambda times: samplers.ddpm(SCHEDULE, times, variance="medium"), "must be 'small' or 'large', got 'medium'"),
    ],
)
def test_samplers_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(samplers.grids.uniform(10))


def test_a_plateau_of_the_schedule_costs_no_noise_and_no_nan():
    # 0.02 is one of those whose plateau is not flat to the last bit: interpolation rounds.
    schedule = schedules.Discrete([0.02, 0.0, 0.0, 0.2])
    times = np.concatenate([[1.0], np.linspace(0.75, 0.25, 100), [0.0]])
    for table in (samplers.ddpm(schedule, times), samplers.ddim(schedule, times, eta=1.0)):
        assert np.all(table.c >= 0) and np.isfinite(table.c).all()
