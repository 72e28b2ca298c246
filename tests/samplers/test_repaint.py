"""RePaint's table: where it jumps, and that its jumps keep the law."""

import numpy as np
import pytest

from diffax import samplers, schedules
from tests.samplers.definition import mixture_halves

SCHEDULE = schedules.Cosine()


def test_it_goes_where_the_authors_schedule_goes():
    """arXiv:2201.09865, appendix B: from T = 9 with jumps of 3, each twice; evaluations at 9, 8, ..., 1 are ours."""
    table = samplers.repaint(SCHEDULE, np.linspace(0.9, 0.0, 10), jump_length=3, resamples=2)
    visited = [9, 8, 7, 6, 5, 4, 6, 5, 4, 3, 2, 1, 3, 2, 1]
    np.testing.assert_allclose(table.times, np.array(visited) / 10, atol=1e-12)
    assert samplers.repaint(SCHEDULE, np.linspace(0.9, 0, 10), jump_length=2, resamples=3).num_evaluations == 9 + 2 * 8


def test_one_resample_is_ddpm():
    times = samplers.grids.uniform(20)
    repaint = samplers.repaint(SCHEDULE, times, resamples=1)
    ddpm = samplers.ddpm(SCHEDULE, times)
    rng = np.random.default_rng(0)
    halves = mixture_halves(SCHEDULE, [0.5, 0.5], [[1.0, 0.5], [-1.0, 0.2]], [0.3, 0.4])
    x, noise = rng.normal(size=(5, 2)), rng.normal(size=(20, 5, 2))
    ends = [samplers.reference_run(halves, table, x, noise)[-1] for table in (repaint, ddpm)]
    np.testing.assert_allclose(*ends, rtol=1e-10)


def test_jumps_keep_the_law_of_gaussian_data():
    """A jump up is a draw of q(x_t | x_s): with small steps everything stays in the marginals."""
    times = samplers.grids.log_snr(SCHEDULE, 400, start=0.99, end=0.02)
    mean, variance = np.array([0.7]), np.array([0.3])
    alpha, sigma = (float(value(np.float64(0.02))) for value in (SCHEDULE.alpha, SCHEDULE.sigma))
    for table in (samplers.repaint(SCHEDULE, times, jump_length=5, resamples=3), samplers.ddpm(SCHEDULE, times)):
        law = samplers.gaussian_law(table, SCHEDULE, mean, variance)
        np.testing.assert_allclose(law.mean, alpha * mean, atol=2e-3)
        np.testing.assert_allclose(law.variance, alpha**2 * variance + sigma**2, rtol=0.03)


@pytest.mark.parametrize("options", [{"jump_length": 0}, {"resamples": 0}])
def test_counts_below_one_are_refused(options):
    with pytest.raises(ValueError, match="jump_length and resamples must be >= 1"):
        samplers.repaint(SCHEDULE, [1.0, 0.5, 0.0], **options)
