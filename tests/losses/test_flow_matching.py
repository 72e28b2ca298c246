"""Velocity matching on Gaussian data, whose optimal velocity is known: the loss has its minimum there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, losses, processes, schedules
from diffax.processes import time_sampling

MEAN, STD = 0.6, 0.4
T = np.array([0.0, 0.05, 0.3, 0.5, 0.8, 1.0])
# Gauss-Hermite nodes of two independent standard normal numbers: polynomials of low degree are integrated exactly.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(12)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def velocity(x, t):
    """E[eps - x_0 | x_t] = (t - (1 - t) s^2) / v_t (x_t - (1 - t) m) - m with v_t = (1 - t)^2 s^2 + t^2."""
    return (t - (1 - t) * STD**2) / ((1 - t) ** 2 * STD**2 + t**2) * (x - (1 - t) * MEAN) - MEAN


def expected_losses(perturbation, schedule=schedules.Flow()):  # noqa: B008, a constant
    """The loss at every T of the optimal velocity plus a polynomial of x_t, expected over data and noise, (times,)."""
    x_0, eps = (value.ravel() for value in np.meshgrid(MEAN + STD * NODES, NODES))
    weights, num = np.outer(WEIGHTS, WEIGHTS).ravel(), len(x_0)
    t, x_0, eps = (jnp.asarray(value) for value in (np.repeat(T, num), np.tile(x_0, len(T)), np.tile(eps, len(T))))

    def predict(x_t, t, *, key):
        x_t, t = x_t[:, 0], schedule.sigma(t)
        moved = perturbation[0] + perturbation[1] * x_t + perturbation[2] * x_t**2
        return (velocity(x_t, t) + moved)[:, None]

    values = losses.denoising(
        jax.random.split(jax.random.key(0), len(t)),
        predict,
        schedule,
        processes.FlowVelocity(),
        x_0[:, None],
        weighting=losses.weighting.Flow(),
        time_density=time_sampling.Uniform(),
        eps=eps[:, None],
        t=t,
    )
    return values.reshape(len(T), num) @ jnp.asarray(weights)


@pytest.mark.parametrize(
    "schedule", [schedules.Flow(), schedules.Shifted(schedules.Flow(), -2.2)], ids=["flow", "shifted"]
)
def test_the_loss_has_its_minimum_at_the_optimal_velocity(x64, schedule):
    """Its gradient vanishes in the directions 1, x and x^2 at every time, and its value is that of the posterior."""
    slope = jax.jit(jax.jacobian(lambda moved: (expected_losses(moved, schedule),) * 2, has_aux=True))
    jacobian, value = slope(jnp.zeros(3))
    np.testing.assert_allclose(jacobian, 0, atol=1e-10)
    t = np.asarray(schedule.sigma(T))
    np.testing.assert_allclose(value, STD**2 / ((1 - t) ** 2 * STD**2 + t**2), rtol=1e-9)
    assert np.all(np.abs(slope(jnp.full(3, 0.1))[0]) > 1e-3)


def test_the_velocity_of_a_mixture_is_the_conversion_of_its_x_0_and_of_its_score(x64):
    """u = (x_t - x_0) / t = (eps - x_t) / (1 - t) = -(x_t + t score) / (1 - t), with the score of another code path."""
    mixture = denoisers.gaussian_mixture(
        schedules.Flow(), [0.3, 0.7], [[1.0, 0.5], [-1.0, 0.2]], [[[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.4]]]
    )
    x = np.random.default_rng(0).normal(size=(7, 2))

    @jax.jit
    def all_of_it(x, t):
        x_0, eps, _ = mixture(x, t)
        u = processes.FlowVelocity().target(schedules.Flow(), x_0, eps, t)
        score = jax.grad(lambda x: mixture.log_density(x, t).sum())(x)
        return x_0, eps, u, score, processes.FlowVelocity().predict(schedules.Flow(), u, x, t).x_0

    for t in (0.02, 0.5, 0.97):
        x_0, eps, u, score, back = (np.asarray(value) for value in all_of_it(x, t))
        np.testing.assert_allclose(u, (x - x_0) / t, rtol=1e-9)
        np.testing.assert_allclose(u, (eps - x) / (1 - t), rtol=1e-9)
        np.testing.assert_allclose(u, -(x + t * score) / (1 - t), rtol=1e-8)
        np.testing.assert_allclose(back, x_0, rtol=1e-9)
    # At pure noise u = x_1 - E[x_0].
    np.testing.assert_allclose(all_of_it(x, 1.0)[2], x - mixture.mean, rtol=1e-9)
