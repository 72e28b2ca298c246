"""Where the logarithm of a ratio stops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.schedules import limits


def test_log_ratio_is_a_logarithm_and_ends_at_the_limit():
    assert limits.log_ratio(np.array(0.3), np.array(0.7)) == pytest.approx(np.log(3 / 7))
    with np.errstate(all="raise"):
        assert limits.log_ratio(np.array(1.0), np.array(0.0)) == limits.LOG_SNR_LIMIT
        assert limits.log_ratio(np.array(0.0), np.array(1.0)) == -limits.LOG_SNR_LIMIT
    assert limits.log_ratio(jnp.array(1e30), jnp.array(1e-30)) == limits.LOG_SNR_LIMIT


def test_log_ratio_has_a_finite_derivative_at_the_limit():
    of_signal, of_noise = jax.grad(limits.log_ratio, argnums=(0, 1))(jnp.array(1.0), jnp.array(0.0))
    assert 0 <= of_signal <= 1
    assert of_noise == 0


def test_root_is_a_square_root_whose_derivative_at_0_is_0():
    np.testing.assert_array_equal(limits.root(np.array([0.0, 4.0])), [0, 2])
    np.testing.assert_array_equal(jax.vmap(jax.grad(limits.root))(jnp.array([0.0, 4.0])), [0, 0.25])
    assert limits.root(np.float32([4.0])).dtype == np.float32
