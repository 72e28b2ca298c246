"""Shifted schedules against the shifts of the papers."""

import numpy as np
import pytest

from diffax import schedules
from diffax.schedules import Shifted


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
