"""The probability flow with adaptive steps, against closed forms and another solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, samplers, schedules
from tests.samplers.convergence import SCHEDULES, exact


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_it_solves_what_runge_kutta_solves(x64, schedule):
    _, x, reference = exact(schedule)
    mixture = denoisers.gaussian_mixture(
        schedule, [0.3, 0.3, 0.4], [[1.0, 0.5], [-1.0, 0.2], [0.3, -1.0]], [0.3, 0.4, 0.5]
    )

    def solve(tolerance):
        return samplers.probability_flow(
            mixture, schedule, jnp.asarray(x), start=0.98, end=0.02, rtol=tolerance, atol=tolerance
        )

    fine, rough = solve(1e-10), solve(1e-4)
    np.testing.assert_allclose(fine.x, reference, atol=1e-8)
    assert 1e-8 < np.abs(rough.x - reference).max() < 1e-2
    assert fine.num_evaluations.shape == (8,)
    assert np.all(fine.num_evaluations > 2 * rough.num_evaluations) and np.all(rough.num_evaluations >= 8)


def test_a_gaussian_from_pure_noise_to_data_and_back():
    """x_s = sqrt(v_s / v_t) x_t for centred Gaussian data; samples do not depend on each other."""
    schedule, variance = schedules.Cosine(), 0.25
    gaussian = denoisers.gaussian_mixture(schedule, [1.0], [[0.0, 0.0]], [np.sqrt(variance)])
    x = jax.random.normal(jax.random.key(0), (5, 2))
    down = samplers.probability_flow(gaussian, schedule, x, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(down.x, np.sqrt(variance) * x, atol=1e-4)
    up = samplers.probability_flow(gaussian, schedule, down.x, start=0.0, end=1.0, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(up.x, x, atol=2e-4)
    alone = samplers.probability_flow(gaussian, schedule, x[3:4], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(alone.x[0], down.x[3], atol=1e-5)


def test_evaluations_are_counted(x64):
    """Against calls counted on the host."""
    schedule, calls = schedules.Flow(), []
    gaussian = denoisers.gaussian_mixture(schedule, [1.0], [[0.3, 0.0]], [0.5])

    def counted(x, t):
        jax.debug.callback(lambda _: calls.append(1), x[0, 0])
        return gaussian(x, t)

    solution = samplers.probability_flow(counted, schedule, jnp.ones((1, 2)), start=0.95, end=0.05)
    jax.block_until_ready(solution.x)
    jax.effects_barrier()
    assert len(calls) == int(solution.num_evaluations[0])


def test_too_many_steps_are_an_error():
    schedule = schedules.Flow()
    gaussian = denoisers.gaussian_mixture(schedule, [1.0], [[0.3, 0.0]], [0.5])
    with pytest.raises(RuntimeError, match="max"):
        samplers.probability_flow(gaussian, schedule, jnp.ones((1, 2)), end=0.01, rtol=1e-6, max_steps=2)
