"""Sampling by flow maps: with the exact one any grid gives the exact sample, and noise put back keeps the law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, samplers, schedules
from diffax.denoisers import flow_maps

SCHEDULES = [schedules.Cosine(), schedules.Flow(), schedules.VarianceExploding(0.02, 40.0)]
NAMES = [type(schedule).__name__ for schedule in SCHEDULES]
MEAN, COVARIANCE = np.array([0.5, -1.0]), np.array([[1.0, 0.3], [0.3, 0.25]])
KEYS = jax.random.split(jax.random.key(0), 20_000)


def exact(schedule):
    mixture = denoisers.gaussian_mixture(schedule, [1.0], MEAN[None], COVARIANCE[None])
    return mixture, flow_maps.two_time_denoiser(flow_maps.gaussian(mixture), schedule)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=NAMES)
def test_one_step_is_as_exact_as_many(schedule):
    """Down to a small time, where the two-time denoiser of a flow map still has two times."""
    with jax.enable_x64(True):
        mixture, denoiser = exact(schedule)
        x = jnp.asarray(np.random.default_rng(0).standard_normal((6, 2)) * float(schedule.sigma(1.0)))
        expected = flow_maps.gaussian(mixture)(x, 1.0, 0.0)
        for times in ([1.0, 0.0], [1.0, 0.6, 0.0], np.linspace(1, 0, 9)):
            table = samplers.flow_map(schedule, times)
            found = samplers.run(None, denoiser, table, x)
            assert table.num_evaluations == len(times) - 1 and not table.is_stochastic
            if float(schedule.sigma(0.0)) == 0:
                np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)
            else:  # the last step goes on from sigma_min to data, along a line
                np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize("schedule", SCHEDULES[:2], ids=NAMES[:2])
@pytest.mark.parametrize("gamma", [0.4, 1.0])
def test_noise_put_back_keeps_the_law(schedule, gamma):
    """Mean and covariance of samples of the exact flow map, within four standard errors."""
    _, denoiser = exact(schedule)
    table = samplers.flow_map(schedule, [1.0, 0.7, 0.4, 0.0], gamma=gamma)
    assert table.is_stochastic
    x = np.asarray(samplers.run(KEYS, denoiser, table, samplers.prior(KEYS, table, (2,))), np.float64)
    error = np.sqrt(np.diag(COVARIANCE) / len(x))
    assert (np.abs(x.mean(0) - MEAN) < 4 * error).all()
    variances = np.outer(np.diag(COVARIANCE), np.diag(COVARIANCE)) + COVARIANCE**2
    assert (np.abs(np.cov(x.T) - COVARIANCE) < 4 * np.sqrt(variances / len(x))).all()


def test_full_noise_is_consistency_sampling():
    """arXiv:2303.01469, algorithm 1: the same numbers as `consistency`, and the second time is 0."""
    times = [1.0, 0.7, 0.4, 0.0]
    ours, theirs = (
        sampler(schedules.Cosine(), times)
        for sampler in (lambda *a: samplers.flow_map(*a, gamma=1.0), samplers.consistency)
    )
    np.testing.assert_allclose(ours.b, theirs.b)
    np.testing.assert_allclose(ours.c, theirs.c, atol=1e-15)
    assert ours.e is None and not np.any(ours.targets)


def test_no_noise_is_ddim_with_a_second_time():
    times = np.linspace(1, 0, 6)
    ours, ddim = samplers.flow_map(schedules.Cosine(), times), samplers.ddim(schedules.Cosine(), times)
    np.testing.assert_allclose(ours.b, ddim.b, atol=1e-15)
    np.testing.assert_allclose(ours.e, ddim.e, atol=1e-15)
    np.testing.assert_array_equal(ours.targets, times[1:])


def test_unfit_gamma_is_refused():
    with pytest.raises(ValueError, match=r"gamma must be in \[0, 1\], got 1.5"):
        samplers.flow_map(schedules.Cosine(), [1.0, 0.0], gamma=1.5)


def test_a_flow_map_goes_to_data_by_itself():
    with pytest.raises(ValueError, match="goes to data by itself"):
        samplers.to_data(samplers.flow_map(schedules.Cosine(), [1.0, 0.1]), 0.1)
