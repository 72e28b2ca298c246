"""Sampling and inversion of a rectified flow of Gaussian data, from pure noise to data, by the usual tables."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, samplers, schedules
from tests import checking

FLOW = schedules.Flow()
MEAN, VARIANCE = np.array([0.7, -0.3]), np.array([0.04, 0.8])
GAUSSIAN = denoisers.gaussian_mixture(FLOW, [1.0], MEAN[None], np.diag(VARIANCE)[None])


def law_errors(method, steps):
    """How far mean and variance of the samples are off, by the number of steps, on a uniform grid from 1 to 0."""
    errors = []
    for num in steps:
        law = samplers.gaussian_law(method(FLOW, samplers.grids.uniform(num)), FLOW, MEAN, VARIANCE)
        errors.append(max(np.abs(law.mean - MEAN).max(), np.abs(law.variance - VARIANCE).max()))
    return np.array(errors)


def sde(schedule, times):
    return samplers.dpm_solver_multistep(schedule, times, tau=1.0)


# The ODE, and the SDE with the same marginals; with the order to which the law of the samples approaches the data's.
METHODS = {
    "Euler": (samplers.euler, 1),
    "Heun": (lambda schedule, times: samplers.heun(schedule, times, variable="t"), 2),
    "DDPM": (samplers.ddpm, 1),
    "DDIM(eta = 1/2)": (lambda schedule, times: samplers.ddim(schedule, times, eta=0.5), 1),
    "Euler-Maruyama": (samplers.euler_maruyama, 1),
    "SDE 2M": (sde, 1.5),
    "SA-Solver": (samplers.sa_solver, 1.5),
}


@pytest.mark.parametrize("name", METHODS)
def test_samples_of_a_flow_have_the_law_of_the_data(name):
    method, order = METHODS[name]
    first = law_errors(method, [25])
    with checking.off():
        errors = np.concatenate([first, law_errors(method, [50, 100, 200])])
    assert errors[-1] < 0.025
    assert np.log2(errors[-2] / errors[-1]) > order - 0.2, errors


def test_euler_by_name_is_ddim_and_moves_along_the_velocity():
    x, times = np.random.default_rng(0).normal(size=(4, 2)), np.array([1.0, 0.8, 0.5, 0.0])
    by_hand = x
    for t, s in itertools.pairwise(times):
        variance = (1 - t) ** 2 * VARIANCE + t**2
        by_hand = by_hand + (s - t) * ((t - (1 - t) * VARIANCE) / variance * (by_hand - (1 - t) * MEAN) - MEAN)
    for method in (samplers.euler, samplers.ddim):
        found = samplers.run(None, GAUSSIAN, method(FLOW, times), jnp.asarray(x, jnp.float32))
        np.testing.assert_allclose(found, by_hand, atol=1e-5)


def test_inversion_finds_the_noise_and_sampling_the_data_again(x64):
    """The flow of a Gaussian is x_0 = m + s x_1 in each direction: inverted, (x_0 - m) / s."""
    x_0 = jnp.asarray(MEAN + np.sqrt(VARIANCE) * np.random.default_rng(0).normal(size=(6, 2)))
    expected, times = (np.asarray(x_0) - MEAN) / np.sqrt(VARIANCE), np.linspace(0, 1, 201)
    heun = jax.jit(lambda table, x: samplers.run(None, GAUSSIAN, table, x))
    up = heun(samplers.heun(FLOW, times, variable="t"), x_0)
    np.testing.assert_allclose(up, expected, atol=2e-3)
    down = heun(samplers.heun(FLOW, times[::-1], variable="t"), up)
    np.testing.assert_allclose(down, x_0, atol=2e-3)
    times = np.linspace(0, 0.98, 50)
    exact = jax.jit(lambda x: samplers.invert(GAUSSIAN, FLOW, x, times, sweeps=30).x)(x_0)
    again = jax.jit(lambda x: samplers.run(None, GAUSSIAN, samplers.euler(FLOW, times[::-1]), x))(exact)
    np.testing.assert_allclose(again, x_0, atol=1e-8)
