import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.networks import conditioning

CONDITION = {"label": jnp.array([0, 2, 1]), "context": jnp.array([[1.0, 2.0]] * 3)}


def test_null_condition():
    null = conditioning.null_condition(CONDITION, 3)
    assert set(null) == {"label", "context"}
    np.testing.assert_array_equal(null["label"], [3, 3, 3])
    np.testing.assert_array_equal(null["context"], np.zeros((3, 2)))
    assert null["label"].dtype == CONDITION["label"].dtype
    assert conditioning.null_condition(None, 3) is None


def test_drop_condition_drops_whole_samples_at_the_given_rate():
    count = 4_000
    condition = {"label": jnp.zeros(count, jnp.int32), "context": jnp.ones((count, 2))}
    got = conditioning.drop_condition(jax.random.split(jax.random.key(0), count), condition, 7, 0.2)
    dropped = np.asarray(got["label"]) == 7
    assert np.all(np.isin(got["label"], [0, 7]))
    np.testing.assert_array_equal(got["context"], np.where(dropped[:, None], 0.0, 1.0) * np.ones((1, 2)))
    # Standard deviation of the mean of 4,000 Bernoulli(0.2): 0.0063.
    assert abs(dropped.mean() - 0.2) < 0.03


def test_drop_condition_by_the_samples_own_key(jit):
    keys = jax.random.split(jax.random.key(1), 3)
    drop = jit(lambda keys, condition: conditioning.drop_condition(keys, condition, 3, 0.5)["label"])
    together = drop(keys, CONDITION)
    for i in range(3):
        alone = drop(keys[i : i + 1], jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], CONDITION))
        np.testing.assert_array_equal(alone[0], together[i])


@pytest.mark.parametrize(("probability", "expected"), [(0.0, [0, 2, 1]), (1.0, [3, 3, 3])])
def test_drop_condition_never_and_always(probability, expected):
    keys = jax.random.split(jax.random.key(1), 3)
    got = jax.jit(lambda keys, c: conditioning.drop_condition(keys, c, 3, probability))(keys, CONDITION)
    np.testing.assert_array_equal(got["label"], expected)
    assert conditioning.drop_condition(keys, None, 3, probability) is None


def test_resolve_fills_in_null():
    label, context = conditioning.resolve(None, 2, 3, 4)
    np.testing.assert_array_equal(label, [3, 3])
    np.testing.assert_array_equal(context, np.zeros((2, 4)))
    assert conditioning.resolve({}, 2, None, None) == (None, None)


@pytest.mark.parametrize(
    ("condition", "num_classes", "context_dim", "message"),
    [
        ({"label": jnp.zeros(3, jnp.int32)}, None, 2, "no classes .* but the condition holds labels"),
        ({"context": jnp.zeros((3, 2))}, 3, None, "takes no context .* but the condition holds one"),
        ({"context": jnp.zeros((3, 5))}, 3, 2, r"context must have shape \(3, 2\), got \(3, 5\)"),
        ({"label": jnp.zeros(2, jnp.int32)}, 3, 2, r"labels must be integers of shape \(3,\), got int32 of shape \(2,"),
        ({"label": jnp.zeros(3)}, 3, 2, "labels must be integers .* got float32"),
        ({"lable": jnp.zeros(3, jnp.int32)}, 3, 2, "may hold 'label' and 'context', got 'lable'"),
    ],
)
def test_unfit_conditions_are_refused(condition, num_classes, context_dim, message):
    with pytest.raises(ValueError, match=message):
        conditioning.resolve(condition, 3, num_classes, context_dim)


def test_unfit_nulls_are_refused():
    with pytest.raises(ValueError, match="num_classes must be given to null labels"):
        conditioning.null_condition(CONDITION, None)
    with pytest.raises(ValueError, match=r"probability must be in \[0, 1\], got 1.5"):
        conditioning.drop_condition(jax.random.split(jax.random.key(0), 3), CONDITION, 3, 1.5)
