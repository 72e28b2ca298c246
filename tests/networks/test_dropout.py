import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.networks import dropout


def _keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def test_no_keys_or_no_rate_is_no_dropout():
    h = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(dropout.dropout(h, None, 0.5, 0), h)
    np.testing.assert_array_equal(dropout.dropout(h, _keys(2), 0.0, 0), h)


def test_the_rate_is_met_and_the_mean_is_kept():
    got = np.asarray(dropout.dropout(jnp.ones((8, 10_000)), _keys(8), 0.3, 0))
    assert set(np.unique(got)) == {0.0, np.float32(1 / 0.7)}
    # Standard deviation of the mean of 80,000 Bernoulli(0.7) / 0.7: 0.0023.
    np.testing.assert_allclose(got.mean(), 1.0, atol=0.01)


def test_a_sample_does_not_know_its_batch(jit):
    h, keys = jnp.ones((5, 100)), _keys(5)
    apply = jit(lambda h, keys: dropout.dropout(h, keys, 0.5, 3))
    together, alone = apply(h, keys), apply(h[2:3], keys[2:3])
    np.testing.assert_array_equal(together[2], alone[0])


def test_samples_and_layers_differ(jit):
    h, keys = jnp.ones((2, 100)), _keys(2)
    first, second = jit(lambda h, keys: [dropout.dropout(h, keys, 0.5, layer) for layer in (0, 1)])(h, keys)
    assert np.any(first[0] != first[1])
    assert np.any(first != second)


def test_unfit_rates_and_keys_are_refused():
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1.0"):
        dropout.dropout(jnp.ones((2, 3)), _keys(2), 1.0, 0)
    with pytest.raises(ValueError, match=r"one key per sample, shape \(2,\), got \(3,\)"):
        dropout.check_keys(_keys(3), 2)
    with pytest.raises(ValueError, match=r"typed PRNG keys \(jax.random.key\), got an array of uint32"):
        dropout.check_keys(jax.random.PRNGKey(0), 2)
