"""Grids of times against the formulas of their papers and of diffusers."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import schedules
from diffax.samplers import grids
from tests.cases import SCHEDULES


def indices(times, num_train_steps):
    """Step numbers, ascending, of a grid of a discrete model."""
    assert times[-1] == 0
    return np.round(times[-2::-1] * num_train_steps - 1).astype(int)


def test_spacings_of_ten_steps_in_a_thousand():
    assert indices(grids.discrete(1000, 10, spacing="leading"), 1000).tolist() == list(range(0, 1000, 100))
    assert indices(grids.discrete(1000, 10, spacing="trailing"), 1000).tolist() == list(range(99, 1000, 100))
    assert indices(grids.discrete(1000, 10, spacing="linspace"), 1000).tolist() == list(range(0, 1000, 111))
    # int((j sqrt(800) / 9)^2)
    quadratic = [0, 9, 39, 88, 158, 246, 355, 483, 632, 800]
    np.testing.assert_allclose(indices(grids.discrete(1000, 10, spacing="quadratic"), 1000), quadratic, atol=1)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 20, 48, 50, 64, 333, 999, 1000])
def test_spacings_are_those_of_diffusers_and_ddim(num_steps):
    """diffusers 0.42, DDIMScheduler.set_timesteps; DDIM's repository, runners/diffusion.py, for "quad".

    Trailing in whole numbers: where diffusers' floating-point stride falls on a half, it rounds up or down by chance.
    """
    expected = {
        "leading": (np.arange(0, num_steps) * (1000 // num_steps)).round(),
        "trailing": [round(Fraction(1000 * j, num_steps)) - 1 for j in range(1, num_steps + 1)],
        "linspace": np.linspace(0, 999, num_steps).round() if num_steps > 1 else [999],
    }
    for spacing, index in expected.items():
        np.testing.assert_array_equal(indices(grids.discrete(1000, num_steps, spacing=spacing), 1000), index)
    if num_steps <= 20:  # with more, the repository's steps repeat
        index = [int(s) for s in np.linspace(0, np.sqrt(1000 * 0.8), num_steps) ** 2]
        np.testing.assert_array_equal(indices(grids.discrete(1000, num_steps, spacing="quadratic"), 1000), index)


@pytest.mark.parametrize("spacing", grids.SPACINGS)
@pytest.mark.parametrize("num_train_steps", [1, 2, 10, 97])
def test_any_number_of_steps_gives_as_many_different_ones(spacing, num_train_steps):
    for num_steps in range(1, num_train_steps + 1):
        times = grids.discrete(num_train_steps, num_steps, spacing=spacing)
        assert times.shape == (num_steps + 1,) and times.dtype == np.float64
        assert np.all(np.diff(times) < 0) and times[0] <= 1
        on_steps = times * num_train_steps
        np.testing.assert_allclose(on_steps, np.round(on_steps), atol=1e-9)


def test_only_trailing_and_linspace_start_at_noise():
    first = {spacing: grids.discrete(1000, 20, spacing=spacing)[0] for spacing in grids.SPACINGS}
    assert first["trailing"] == first["linspace"] == 1
    assert first["leading"] < 1 and first["quadratic"] < 1


def test_uniform_is_even_in_time():
    np.testing.assert_allclose(grids.uniform(4), [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(grids.uniform(2, start=0.9, end=0.1), [0.9, 0.5, 0.1])


@pytest.mark.parametrize("name", ["linear_beta", "edm", "sub_vp", "linear", "cosine"])
def test_log_snr_is_even_in_log_snr(name):
    schedule = SCHEDULES[name]
    times = grids.log_snr(schedule, 17, start=0.999, end=0.01)
    assert times.shape == (18,) and times[0] == 0.999 and times[-1] == 0.01
    steps = np.diff(schedule.log_snr(times))
    np.testing.assert_allclose(steps, (schedule.log_snr(0.01) - schedule.log_snr(0.999)) / 17, rtol=1e-9)


@pytest.mark.parametrize("rho", [1.0, 7.0])
def test_karras_is_edm_s_list_of_sigmas(rho):
    """arXiv:2206.00364, eq. 5, without its last 0."""
    num = 18
    i = np.arange(num)
    sigmas = (80 ** (1 / rho) + i / (num - 1) * (0.002 ** (1 / rho) - 80 ** (1 / rho))) ** rho
    schedule = schedules.VarianceExploding(0.002, 80.0)
    times = grids.karras(schedule, num - 1, rho=rho)
    np.testing.assert_allclose(schedule.sigma(times), sigmas, rtol=1e-9)
    assert times[0] == 1 and times[-1] == 0


def test_a_learned_schedule_s_grid_is_computed_in_float64():
    learned = jax.tree.map(jnp.float32, schedules.LinearBeta(0.125, 16.0))
    exact = grids.log_snr(schedules.LinearBeta(0.125, 16.0), 10)
    times = grids.log_snr(learned, 10)
    assert times.dtype == np.float64
    np.testing.assert_allclose(times, exact, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grids.uniform(0), "num_steps must be >= 1, got 0"),
        (lambda: grids.discrete(1000, 0), "num_steps must be >= 1, got 0"),
        (lambda: grids.discrete(1000, -3), "num_steps must be >= 1, got -3"),
        (lambda: grids.discrete(1000, 1001), "at most the 1000 steps of the schedule, got 1001"),
        (
            lambda: grids.discrete(1000, 10, spacing="cubic"),
            "spacing must be one of leading, trailing, linspace, quadratic, got 'cubic'",
        ),
        (lambda: grids.log_snr(schedules.Cosine(), 10), r"finite log-SNR, but alpha\(1\) = 0 for Cosine"),
        (lambda: grids.karras(schedules.LinearBeta(), 10), r"finite log-SNR, but sigma\(0\) = 0 for LinearBeta"),
        (lambda: grids.log_snr(SCHEDULES["zero_terminal_snr"], 10), r"but alpha\(1\) = 0 for Discrete\(1000 steps\)"),
        (lambda: grids.karras(schedules.VarianceExploding(), 0), "num_steps must be >= 1, got 0"),
    ],
)
def test_grids_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
