"""Straightness against its closed form for Gaussian data, under every schedule; straight lines have 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, samplers, schedules

MEAN = np.array([0.4, -1.0])
X_1 = np.random.default_rng(0).normal(size=(5, 2))


def gaussian(schedule, std):
    return denoisers.gaussian_mixture(schedule, [1.0], MEAN[None], [std])


@pytest.mark.parametrize("std", [0.3, 2.0])
@pytest.mark.parametrize("schedule", [schedules.Flow(), schedules.Cosine()], ids=["flow", "cosine"])
def test_of_gaussian_data_it_is_known(x64, schedule, std):
    """The path from x_1 is (1 - t) m + sqrt(v_t) x_1 with v_t = (1 - t)^2 s^2 + t^2, and S = s (2 - pi / 2) |x_1|^2.

    The integral of (d sqrt(v_t) / dt)^2 is 1 + s^2 - s pi / 2, and the mean slope is 1 - s. Under another schedule the
    same path is scaled, and passed through at another speed.
    """
    times = np.linspace(1, 0, 301)
    scale = schedule.alpha(times) + schedule.sigma(times)
    t = (schedule.sigma(times) / scale)[:, None, None]
    states = (1 - t) * MEAN + np.sqrt((1 - t) ** 2 * std**2 + t**2) * X_1
    states = jnp.asarray(states * scale[:, None, None])
    expected = std * (2 - np.pi / 2) * (X_1**2).sum(1)
    for order in (1, -1):
        found = samplers.straightness(gaussian(schedule, std), schedule, times[::order], states[::order])
        np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_of_saved_states_of_a_table():
    schedule, times, x = schedules.Flow(), samplers.grids.uniform(400), jnp.asarray(X_1, jnp.float32)
    _, saved = samplers.run(None, gaussian(schedule, 0.5), samplers.euler(schedule, times), x, save_every=1)
    states = jnp.concatenate([x[None], saved])
    found = jax.jit(lambda states: samplers.straightness(gaussian(schedule, 0.5), schedule, times, states))(states)
    np.testing.assert_allclose(found, 0.5 * (2 - np.pi / 2) * (X_1**2).sum(1), rtol=0.01)


def test_the_flow_to_a_single_point_is_straight_and_one_step_finds_it():
    schedule, x = schedules.Flow(), jnp.asarray(X_1, jnp.float32)
    for num_steps in (1, 3):
        times = samplers.grids.uniform(num_steps, end=0.0)
        end, saved = samplers.run(None, gaussian(schedule, 0.0), samplers.euler(schedule, times), x, save_every=1)
        np.testing.assert_allclose(end, np.broadcast_to(MEAN, X_1.shape), atol=1e-6)
    states = jnp.concatenate([x[None], saved])[:-1]  # the velocity of a point mass is not known at the point itself
    assert float(samplers.straightness(gaussian(schedule, 0.0), schedule, times[:-1], states).max()) < 1e-10


def test_one_time_per_state():
    with pytest.raises(ValueError, match="expected one time per state, got 3 times and 2 states"):
        samplers.straightness(gaussian(schedules.Flow(), 1.0), schedules.Flow(), [1, 0.5, 0], jnp.zeros((2, 4, 2)))
