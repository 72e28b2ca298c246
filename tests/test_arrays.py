"""The array habits that every room shares."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import arrays, schedules

KEYS = jax.random.split(jax.random.key(0), 8)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Pair:
    """Two leaves and a part of the structure."""

    first: Any
    second: Any
    name: str = dataclasses.field(default="pair", metadata={"static": True})


def test_a_registered_class_is_a_pytree_of_its_fields():
    pair = Pair(1.0, {"inner": 2.0})
    leaves, structure = jax.tree.flatten(pair)
    assert leaves == [1.0, 2.0]
    assert jax.tree.unflatten(structure, leaves) == pair
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(pair)]
    assert paths == [".first", ".second['inner']"]
    assert jax.tree.map(lambda leaf: None, pair) == Pair(None, {"inner": None})


def test_what_is_static_is_part_of_the_structure():
    assert jax.tree.structure(Pair(1.0, 2.0)) == jax.tree.structure(Pair(3.0, 4.0))
    assert jax.tree.structure(Pair(1.0, 2.0)) != jax.tree.structure(Pair(1.0, 2.0, "other"))


def test_classes_with_as_many_fields_have_different_structures():
    classes = [
        arrays.register_pytree(dataclasses.make_dataclass(f"Class{k}", ["leaf"], frozen=True)) for k in range(100)
    ]
    structures = [jax.tree.structure(cls(1.0)) for cls in classes]
    assert all(one != other for k, one in enumerate(structures) for other in structures[:k])


def test_schedules_of_one_shape_never_share_a_compiled_program():
    pairs = [(schedules.Cosine(), schedules.Flow()), (schedules.LinearBeta(), schedules.VarianceExploding())]
    for one, other in pairs:
        assert jax.tree.structure(one) != jax.tree.structure(other)


def test_namespace_is_jax_s_as_soon_as_one_value_is():
    assert arrays.namespace(1.0, np.ones(2)) is np
    assert arrays.namespace(1.0, jnp.ones(2)) is jnp
    jax.jit(lambda x: pytest.fail("not traced") if arrays.namespace(x) is np else x)(1.0)


def test_as_float_keeps_a_dtype_and_makes_float64_of_python_numbers():
    for value, dtype in ((1, np.float64), (0.5, np.float64), (np.float32(1), np.float32), (np.arange(3), np.float64)):
        xp, number, parameter = arrays.as_float(value, 0.1)
        assert xp is np
        assert number.dtype == dtype and parameter.dtype == dtype
    xp, number, parameter = arrays.as_float(np.ones(2), jnp.float32(0.1))
    assert xp is jnp
    assert number.dtype == parameter.dtype == jnp.float32


def test_as_float_meets_parameters_of_another_precision(x64):
    _, number, parameter = arrays.as_float(jnp.ones(2, jnp.float32), np.float64(0.1))
    assert (number * parameter).dtype == jnp.float32


def test_expand_to_adds_trailing_axes_and_leaves_a_scalar_alone():
    x = jnp.ones((2, 3, 4))
    assert arrays.expand_to(jnp.ones(2), x).shape == (2, 1, 1)
    assert arrays.expand_to(0.5, x).shape == ()
    np.testing.assert_array_equal((arrays.expand_to(jnp.array([1.0, 2.0]), x) * x)[:, 0, 0], [1, 2])
    assert isinstance(arrays.expand_to(np.ones(2), np.ones((2, 3))), np.ndarray)


def test_means_and_sums_are_over_all_axes_but_the_first():
    x = jnp.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_allclose(arrays.mean_per_sample(x), [5.5, 17.5])
    np.testing.assert_allclose(arrays.sum_per_sample(x), [66, 210])
    np.testing.assert_allclose(arrays.mean_per_sample(jnp.array([1.0, 2.0])), [1, 2])


def test_split_keys_gives_every_sample_its_own():
    first, second = arrays.split_keys(KEYS, 2)
    assert first.shape == second.shape == (8,)
    data = np.concatenate([jax.random.key_data(keys) for keys in (KEYS, first, second)])
    assert len(np.unique(data, axis=0)) == 24
    alone = arrays.split_keys(KEYS[3:4], 2)[1]
    np.testing.assert_array_equal(jax.random.key_data(alone), jax.random.key_data(second[3:4]))


@pytest.mark.parametrize("batch", [1, 7])
def test_noise_does_not_know_its_batch(batch):
    together = arrays.normal_like(KEYS, jnp.zeros((8, 3, 2)))
    np.testing.assert_array_equal(arrays.normal_like(KEYS[:batch], jnp.zeros((batch, 3, 2))), together[:batch])
    assert len(np.unique(np.asarray(together))) == 48


def test_noise_is_standard_normal():
    noise = np.asarray(arrays.normal_like(KEYS, jnp.zeros((8, 5000))))
    # Five standard errors over 40,000 numbers.
    assert abs(noise.mean()) < 5 / np.sqrt(40_000)
    assert abs(noise.var() - 1) < 5 * np.sqrt(2 / 40_000)


def test_noise_needs_a_key_for_each_sample():
    with pytest.raises(ValueError, match=r"one key per sample, shape \(3,\), got keys of shape \(8,\)"):
        arrays.normal_like(KEYS, jnp.zeros((3, 2)))
