"""Shifted schedules against the shifts of the papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import build, build_sampler, losses, processes, resolve, schedules, training
from diffax import config as settings
from diffax.denoisers import time_inputs
from diffax.schedules import Shifted
from diffax.training.step import draw_times


def test_log_snr_is_the_base_s_moved():
    t = np.linspace(0.01, 0.99, 99)
    for base in (schedules.Cosine(), schedules.Flow(), schedules.SubVP(), schedules.VarianceExploding()):
        np.testing.assert_allclose(Shifted(base, -1.7).log_snr(t), base.log_snr(t) - 1.7, rtol=1e-9)


def test_simple_diffusion_s_shift_for_a_larger_image():
    # arXiv:2301.11093, section 3.1: the cosine schedule's log-SNR moved by 2 log(64 / d).
    t = np.linspace(0.01, 0.99, 99)
    expected = -2 * np.log(np.tan(np.pi * t / 2)) + 2 * np.log(64 / 512)
    np.testing.assert_allclose(Shifted(schedules.Cosine(), 2 * np.log(64 / 512)).log_snr(t), expected, rtol=1e-9)


def test_stable_diffusion_3_s_timestep_shift():
    # arXiv:2403.03206, eq. 23: t becomes s t / (1 + (s - 1) t).
    t, s = np.linspace(0, 1, 101), 3.0
    shifted = Shifted(schedules.Flow(), -2 * np.log(s))
    np.testing.assert_allclose(shifted.sigma(t), s * t / (1 + (s - 1) * t), rtol=1e-12)
    assert shifted.alpha(1.0) == 0 and shifted.sigma(0.0) == 0
    # Its inverse: at a log-SNR of 2 log((1 - u) / u) the moved time is u, and t = u / (s - (s - 1) u).
    u = t[1:-1]
    np.testing.assert_allclose(shifted.t_of_log_snr(2 * np.log((1 - u) / u)), u / (s - (s - 1) * u), rtol=1e-12)


def test_a_shift_of_0_is_the_base():
    t = np.linspace(0, 1, 101)
    np.testing.assert_allclose(Shifted(schedules.Sigmoid(), 0.0).alpha(t), schedules.Sigmoid().alpha(t), atol=1e-12)


def test_a_schedule_that_ends_before_noise_is_followed_past_its_end():
    shifted = Shifted(schedules.VarianceExploding(0.01, 50.0), -2 * np.log(2))
    np.testing.assert_allclose(shifted.sigma(np.array([0.0, 1.0])), [0.02, 100.0])


def test_a_discrete_schedule_ends_where_its_table_ends():
    base = schedules.Discrete.linear()
    shifted = Shifted(base, -3.0)
    assert shifted.log_snr(1.0) == pytest.approx(base.log_snr(1.0))
    assert shifted.log_snr(0.3) == pytest.approx(base.log_snr(0.3) - 3)


def test_the_shift_for_a_resolution_is_that_of_both_papers():
    """2 log(64 / d) of arXiv:2301.11093, and s = sqrt(m / n) of arXiv:2403.03206 for 96^2 and 32^2 pixels."""
    assert Shifted.for_resolution(schedules.Cosine(), 512).shift == pytest.approx(2 * np.log(64 / 512))
    t = np.linspace(0, 1, 11)
    sd3 = Shifted.for_resolution(schedules.Flow(), 96, reference_side=32)
    np.testing.assert_allclose(sd3.sigma(t), np.sqrt(9) * t / (1 + (np.sqrt(9) - 1) * t), rtol=1e-12)
    with pytest.raises(ValueError, match="side and reference_side must be > 0, got 0 and 64"):
        Shifted.for_resolution(schedules.Flow(), 0)


def shifted_config():
    config = settings.default()
    config.schedule = settings.choice("shifted_for_resolution", base="flow", side=96, reference_side=32)
    config.parameterization = settings.choice("flow")
    config.loss.time_density = settings.choice("logit_normal")
    config.sampler = settings.choice("euler", num_steps=4)
    return resolve.resolve(config)


def test_training_shifts_its_times_exactly_once():
    """With x_0 = 0 and eps = 1 the network's input is the noise level: eq. 23 of the times that were drawn."""
    config, seen = shifted_config(), {}

    def spy(params, x, time_input, condition, *, key=None):
        seen.update(x=x)
        return 0 * x

    hyperparameters = training.Hyperparameters(
        learning_rate=1.0,
        averagings=(),
        schedule=build.schedule(config),
        parameterization=processes.FlowVelocity(),
        weighting=losses.weighting.Flow(),
        time_density=build.time_density(config),
    )
    keys = jax.random.split(jax.random.key(0), 512)
    loss = training.make_loss(spy, time_input=time_inputs.scaled)
    found = loss({}, hyperparameters, {"x": jnp.zeros((512, 1)), "eps": jnp.ones((512, 1))}, keys)
    t = np.asarray(draw_times(hyperparameters.time_density, hyperparameters.schedule, keys), float)
    np.testing.assert_allclose(seen["x"][:, 0], 3 * t / (1 + 2 * t), rtol=1e-5)
    # The times themselves are logit-normal with mean 0 (eq. 19): the shift has not touched them. Standard error 0.044.
    assert abs(np.log(t / (1 - t)).mean()) < 4 / 512**0.5
    np.testing.assert_allclose(found, 1, rtol=1e-5)  # |0 - (1 - 0)|^2, uniform on the velocity at every level


def test_sampling_shifts_its_grid_exactly_once():
    """Four steps with s = 3: noise levels 1, 0.9, 0.75 and 0.5. Shifted twice they would be 1, 0.964, 0.9 and 0.75."""
    config = shifted_config()
    schedule = build.schedule(config)
    table = build_sampler.sampler_table(config, schedule, processes.FlowVelocity())
    np.testing.assert_allclose(table.times, [1, 0.75, 0.5, 0.25])
    levels = np.array([1, 0.9, 0.75, 0.5, 0])
    np.testing.assert_allclose(schedule.sigma(table.times), levels[:-1], rtol=1e-12)
    # A step of Euler's method with a constant velocity u = eps - x_0 moves x by u times the difference of the levels.
    x, u = np.array([0.3]), np.array([-1.7])
    for row, level in enumerate(levels[:-1]):
        prediction = processes.FlowVelocity().predict(schedule, u[None], x[None], table.times[row])
        a = 0.0 if table.a is None else table.a[row]
        new = a * x + sum(
            0 if column is None else column[row, 0] * half[0]
            for column, half in ((table.b, prediction.x_0), (table.e, prediction.eps))
        )
        np.testing.assert_allclose(new - x, (levels[row + 1] - level) * u, atol=1e-12)
        x = new
