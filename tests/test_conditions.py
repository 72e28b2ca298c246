"""Kinds of conditions, their null values, dropping, completing and checking them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import conditions
from diffax.conditions import Classes, Tokens, TokenSequence, Vector

KINDS = {"label": Classes(3), "context": Vector(2), "text": Tokens(4)}


def sequence(batch=3, length=5):
    mask = np.arange(length) < np.arange(1, batch + 1)[:, None]
    return TokenSequence(jnp.ones((batch, length, 4)), jnp.asarray(mask))


def values():
    return {"label": jnp.array([0, 2, 1]), "context": jnp.array([[1.0, 2.0]] * 3), "text": sequence()}


def test_null():
    null = conditions.null(values(), KINDS)
    np.testing.assert_array_equal(null["label"], [3, 3, 3])
    np.testing.assert_array_equal(null["context"], np.zeros((3, 2)))
    assert not null["text"].mask.any() and null["text"].vectors.shape == (3, 5, 4)
    for name, value in values().items():
        assert [leaf.dtype for leaf in jax.tree.leaves(null[name])] == [leaf.dtype for leaf in jax.tree.leaves(value)]
    assert conditions.null(None, KINDS) is None
    only_label = conditions.null(values(), KINDS, ["label"])
    np.testing.assert_array_equal(only_label["label"], [3, 3, 3])
    np.testing.assert_array_equal(only_label["context"], values()["context"])


def test_which_samples_have_null_conditions():
    """In every condition that is asked for; what has been dropped is null."""
    told = values() | {"label": jnp.array([3, 3, 1]), "context": jnp.array([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])}
    for names, expected in (
        (["label"], [True, True, False]),
        (["label", "context"], [True, False, False]),
        (["text"], [False, False, False]),
        ([], [True, True, True]),
    ):
        np.testing.assert_array_equal(conditions.are_null(told, KINDS, names), expected)
    assert conditions.are_null(conditions.null(values(), KINDS), KINDS, KINDS).all()


def test_the_guidance_that_a_network_is_told():
    """Nothing where there is none: scale 1, at all times."""
    told = conditions.guidance(np.array([1.0, 4.0]), np.array([0.0, 0.2]), np.array([1.0, 0.7]))
    np.testing.assert_allclose(np.stack(list(told.values())), [[0, 0.75], [0, 0.2], [0, 0.3]])
    assert set(told) == set(conditions.GUIDANCE)


def test_each_condition_is_dropped_at_its_own_rate():
    count = 4_000
    keys = jax.random.split(jax.random.key(0), count)
    told = {"label": jnp.zeros(count, jnp.int32), "context": jnp.ones((count, 2)), "text": sequence(count, 2)}
    dropped_of = lambda got: {  # noqa: E731
        "label": np.asarray(got["label"]) == 3,
        "context": (np.asarray(got["context"]) == 0).all(1),
        "text": ~np.asarray(got["text"].mask).any(1),
    }
    got = dropped_of(conditions.drop(keys, told, KINDS, {"label": 0.2, "text": 0.5}))
    # Standard deviations of the means of 4,000 draws: 0.0063 and 0.0079.
    assert abs(got["label"].mean() - 0.2) < 0.03 and abs(got["text"].mean() - 0.5) < 0.04
    assert not got["context"].any()
    assert abs((got["label"] & got["text"]).mean() - 0.1) < 0.02  # independent draws
    # The draw for a condition does not depend on which other ones there are.
    alone = conditions.drop(keys, {"label": told["label"]}, KINDS, {"label": 0.2})
    np.testing.assert_array_equal(np.asarray(alone["label"]) == 3, got["label"])
    together = dropped_of(conditions.drop(keys, told, KINDS, dict.fromkeys(KINDS, 0.1), 0.2))
    # 0.2 + 0.8 x 0.1 each, and 0.2 + 0.8 x 0.001 all.
    assert abs(together["context"].mean() - 0.28) < 0.03
    assert abs((together["label"] & together["context"] & together["text"]).mean() - 0.2008) < 0.03


def test_dropped_by_the_samples_own_key():
    keys, told = jax.random.split(jax.random.key(1), 3), values()
    drop = jax.jit(lambda keys, told: conditions.drop(keys, told, KINDS, dict.fromkeys(KINDS, 0.5)))
    together = drop(keys, told)
    for i in range(3):
        alone = drop(keys[i : i + 1], jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], told))
        jax.tree.map(lambda one, all_of: np.testing.assert_array_equal(one[0], all_of[i]), alone, together)  # noqa: B023


@pytest.mark.parametrize(("probability", "expected"), [(0.0, [0, 2, 1]), (1.0, [3, 3, 3])])
def test_dropped_never_and_always(probability, expected):
    keys = jax.random.split(jax.random.key(1), 3)
    got = conditions.drop(keys, values(), KINDS, {"label": probability})
    np.testing.assert_array_equal(got["label"], expected)
    assert conditions.drop(keys, None, KINDS, {"label": probability}) is None


def test_what_is_missing_is_null():
    complete = conditions.complete(None, KINDS, 2)
    np.testing.assert_array_equal(complete["label"], [3, 3])
    np.testing.assert_array_equal(complete["context"], np.zeros((2, 2)))
    assert complete["text"].vectors.shape == (2, 1, 4) and not complete["text"].mask.any()
    assert conditions.complete({}, {}, 2) == {}
    assert conditions.complete({"label": jnp.array([1, 2])}, KINDS, 2)["label"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("told", "kinds", "message"),
    [
        ({"label": jnp.zeros(3, jnp.int32)}, {"context": Vector(2)}, "no condition 'label': the network takes context"),
        ({"label": jnp.zeros(3, jnp.int32)}, {}, "no condition 'label': the network takes no conditions"),
        (
            {"context": jnp.zeros((3, 5))},
            KINDS,
            r"'context' must be floats of shape \(3, 2\), got float32",
        ),
        (
            {"label": jnp.zeros(2, jnp.int32)},
            KINDS,
            r"'label' must be integers of shape \(3,\), got int32",
        ),
        ({"label": jnp.zeros(3)}, KINDS, "'label' must be integers .* got float32"),
        ({"text": jnp.zeros((3, 5, 4))}, KINDS, r"'text' must be a TokenSequence of floats \(3, length, 4\)"),
        ({"text": TokenSequence(jnp.zeros((3, 5, 4)), jnp.ones((3, 4), bool))}, KINDS, r"got vectors float32 of shape"),
        ({"text": TokenSequence(jnp.zeros((3, 5, 3)), jnp.ones((3, 5), bool))}, KINDS, r"\(3, 5, 3\)"),
    ],
)
def test_unfit_conditions_are_refused(told, kinds, message):
    with pytest.raises(ValueError, match=message):
        conditions.complete(told, kinds, 3)


def test_unfit_probabilities_and_values_are_refused():
    with pytest.raises(ValueError, match=r"dropping 'label' must be in \[0, 1\], got 1.5"):
        conditions.drop(jax.random.split(jax.random.key(0), 3), values(), KINDS, {"label": 1.5})
    with pytest.raises(ValueError, match="there is no condition 'lable'"):
        conditions.null({"lable": jnp.zeros(3, jnp.int32)}, KINDS)
    conditions.check_values(jax.tree.map(np.asarray, values()), KINDS)
    with pytest.raises(ValueError, match="'context' must be finite, and is not in row 1"):
        conditions.check_values({"context": np.array([[0.0, 1.0], [np.nan, 0.0]])}, KINDS)
    with pytest.raises(ValueError, match=r"'label' must be in 0..3 \(3 is null\), and is not in row 0"):
        conditions.check_values({"label": np.array([4])}, KINDS)


@pytest.mark.parametrize("kind", KINDS.values())
def test_kinds_as_json(kind):
    assert conditions.from_json(conditions.to_json(kind)) == kind


def test_interpolated():
    ends = np.array([[0.0, 2.0]], np.float32), np.array([[1.0, 0.0]], np.float32)
    np.testing.assert_allclose(conditions.interpolated(*ends, 3), [[0, 2], [0.5, 1], [1, 0]])
    short = TokenSequence(np.full((1, 1, 2), 4.0, np.float32), np.array([[True]]))
    long = TokenSequence(np.full((1, 3, 2), 2.0, np.float32), np.array([[True, True, False]]))
    got = conditions.interpolated(short, long, 3)
    np.testing.assert_allclose(got.vectors[:, :, 0], [[4, 0, 0], [3, 1, 0], [2, 2, 0]])
    np.testing.assert_array_equal(got.mask, [[True, True, False]] * 3)


def test_the_class_condition():
    assert conditions.class_condition(KINDS) == "label"
    assert conditions.class_condition({"digit": Classes(10), "bold": Classes(2)}) == "bold"
    assert conditions.class_condition({"label": Vector(3)}) is None
