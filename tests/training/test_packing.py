import jax
import jax.numpy as jnp
import numpy as np

from diffax.training import packing


def make_tree():
    rng = np.random.default_rng(0)
    return {
        "bias": jnp.asarray(rng.normal(size=7), jnp.bfloat16),
        "empty": np.zeros((0, 3)),
        "kernel": jnp.asarray(rng.normal(size=(64, 64)), jnp.float32),
        "key": jax.random.key(3),
        "of the host": rng.normal(size=(3, 5)),
        "odd": jnp.array([np.nan, -0.0, np.inf, 1e-45], jnp.float32),
        "step": jnp.int32(7),
    }


def test_what_was_packed_is_unpacked_to_the_bit():
    tree = make_tree()
    unpacked = packing.unpack(packing.pack(tree), jax.tree.leaves(tree))
    for before, after in zip(jax.tree.leaves(tree), unpacked, strict=True):
        assert (type(after), after.dtype, after.shape) == (type(before), before.dtype, before.shape)
        if jnp.issubdtype(before.dtype, jax.dtypes.prng_key):
            before, after = jax.random.key_data(before), jax.random.key_data(after)
        assert np.asarray(after).tobytes() == np.asarray(before).tobytes()


def test_small_arrays_become_one_of_bytes_and_large_ones_and_keys_stay():
    tree = make_tree()
    packed = packing.pack(tree)
    assert packed["small"].dtype == np.uint8
    assert packed["small"].size == 7 * 2 + 3 * 5 * 8 + 4 * 4 + 4
    assert [leaf.shape for leaf in packed["large"]] == [(0, 3), (64, 64), ()]
    # A state of small arrays alone, and one without any.
    assert packing.pack({"x": jnp.zeros(3)})["large"] == [] and set(packing.pack({"x": tree["kernel"]})) == {"large"}


def test_shapes_are_enough_to_say_what_will_be_packed():
    tree = make_tree()
    shapes = [x if isinstance(x, np.ndarray) else jax.eval_shape(lambda x=x: x) for x in tree.values()]
    packed, like = packing.pack(tree), packing.like(shapes)
    assert jax.tree.structure(packed) == jax.tree.structure(like)
    for leaf, described in zip(jax.tree.leaves(packed), jax.tree.leaves(like), strict=True):
        assert (leaf.shape, leaf.dtype) == (described.shape, described.dtype)
