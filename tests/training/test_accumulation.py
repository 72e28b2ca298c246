"""Gradient accumulation: the gradient of a batch in parts against that of the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffax import conditions, data, losses, networks, processes, schedules, training
from diffax.conditions import Classes, Vector
from diffax.denoisers import time_inputs
from diffax.processes import time_sampling
from diffax.training import accumulation

HYPERPARAMETERS = training.Hyperparameters(
    learning_rate=1.0,
    averagings=(training.ema.Constant(0.9),),
    schedule=schedules.Cosine(),
    parameterization=processes.V(),
    weighting=losses.weighting.Velocity(),
    time_density=time_sampling.Stratified(time_sampling.LogitNormal()),
)


KINDS = {"label": Classes(3), "place": Vector(2)}


def drop_some(keys, condition):
    return conditions.drop(keys, condition, KINDS, dict.fromkeys(KINDS, 0.5))


def gradients(batch, dtype, accumulate, *, hidden=4):
    """The updates of gradient descent with rate 1, which are minus the gradients; the loss; the program."""
    module = networks.MLP(hidden=hidden, depth=1, dropout=0.3, conditions=KINDS, dtype=dtype)
    network = networks.Linen(module)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), (2,)))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), dtype), shapes)
    loss = training.make_loss(
        network,
        time_input=time_inputs.log_snr,
        condition_names=tuple(KINDS),
        drop_condition=drop_some,
    )
    step = training.make_train_step(loss, optax.identity(), lambda step: 1.0, accumulate=accumulate)
    state = training.init_state(3, lambda key: params, optax.identity(), HYPERPARAMETERS)
    # Most of the time of this test is the compiler's.
    compiled = jax.jit(step).lower(state, batch).compile({"xla_backend_optimization_level": 0})
    after, metrics = compiled(state, batch)
    return jax.tree.map(jnp.subtract, state.params, after.params), float(metrics["loss"]), compiled


def test_parts_have_the_gradient_of_the_whole(x64, monkeypatch):
    """Times by the place in the whole batch, noise, dropped labels and dropout; written out as on CPUs, or a loop."""
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((16, 2)), "label": rng.integers(0, 3, 16), "place": rng.standard_normal((16, 2))}
    whole, loss, _ = gradients(batch, "float64", 1)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(whole))
    for num_parts, unrolled in ((2, True), (4, False), (8, False)):
        monkeypatch.setattr(accumulation, "unrolled", lambda unrolled=unrolled: unrolled)
        parts, mean, _ = gradients(batch, "float64", num_parts)
        for ours, theirs in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
            assert np.abs(ours - theirs).max() <= 1e-6 * np.abs(theirs).max()
        assert mean == pytest.approx(loss, rel=1e-12)


def test_parts_take_the_memory_of_a_part_and_their_batch_from_the_device():
    points = np.random.default_rng(0).standard_normal((600, 2)).astype(np.float32)
    labelled = data.dataset.Dataset(name="p", examples=points, labels=np.arange(600, dtype=np.int32) % 3, num_classes=3)
    whole = gradients(data.pipeline.Pipeline(labelled, 512, 1).batch(0), "float32", 1, hidden=32)
    parts = gradients(next(data.device_dataset.batches(labelled, 512, 1)), "float32", 4, hidden=32)
    for ours, theirs in zip(jax.tree.leaves(parts[0]), jax.tree.leaves(whole[0]), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    whole, parts = (program.memory_analysis().temp_size_in_bytes for *_, program in (whole, parts))
    assert parts < whole / 2


def test_every_device_has_a_share_of_every_part():
    """Example i is on device i // 4 of two: each part of four has one example of each."""
    seen = []

    def of_part(params, x):
        jax.debug.callback(lambda part: seen.append(part.tolist()), x, ordered=True)
        return jax.value_and_grad(lambda params: params * x.mean())(params), 2 * x

    (value, slope), each = accumulation.in_parts(of_part, jnp.ones(()), (jnp.arange(8.0),), 4)
    assert seen == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert float(value) == float(slope) == 3.5
    np.testing.assert_array_equal(each, 2 * np.arange(8))


@pytest.mark.parametrize("num_parts", [0, 3])
def test_unequal_parts_are_refused(num_parts):
    batch = {"x": np.zeros((16, 2), np.float32), "label": np.zeros(16, np.int32)}
    with pytest.raises(ValueError, match=f"train.accumulate must divide the batch of 16 examples, got {num_parts}"):
        gradients(batch, "float32", num_parts)
