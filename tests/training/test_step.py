"""The training step against the same update written in NumPy."""

import dataclasses
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffax import data, losses, processes, schedules, training
from diffax.denoisers import time_inputs
from diffax.processes import time_sampling
from diffax.training.state import sample_keys

HYPERPARAMETERS = training.Hyperparameters(
    learning_rate=0.1,
    averagings=(training.ema.Constant(0.9),),
    schedule=schedules.Flow(),
    parameterization=processes.FlowVelocity(),
    weighting=losses.weighting.Flow(),
    time_density=time_sampling.Uniform(),
)


def linear(params, x, time_input, condition, *, key=None):
    """A network whose loss has a gradient in closed form: out = w x + condition."""
    return params["w"] * x + (0.0 if condition is None else condition["label"].astype(x.dtype)[:, None])


def state_of(hyperparameters=HYPERPARAMETERS, optimizer=None):
    optimizer = optimizer or training.adam()
    return training.init_state(3, lambda key: {"w": jnp.full((1, 1), 0.5)}, optimizer, hyperparameters)


def step_of(optimizer=None, shape=lambda step: 1.0, **options):
    loss = training.make_loss(linear, time_input=time_inputs.scaled, **options)
    return training.make_train_step(loss, optimizer or training.adam(), shape)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {"x": jnp.asarray(rng.standard_normal((8, 1)), jnp.float32), "label": jnp.arange(8)}


def test_adam_and_ema_as_in_the_papers(batch):
    """Adam's first update is lr g / (|g| + eps), whatever the gradient; EMA's first decay is 1/10."""
    state, metrics = jax.jit(step_of())(state_of(), batch)
    sign = np.sign(0.5 - state.params["w"].item())
    np.testing.assert_allclose(state.params["w"], 0.5 - 0.1 * sign, rtol=1e-5)
    np.testing.assert_allclose(state.ema[0]["w"], 0.1 * 0.5 + 0.9 * (0.5 - 0.1 * sign), rtol=1e-5)
    assert int(state.step) == 1 and float(metrics["learning_rate"]) == pytest.approx(0.1)


def test_loss_and_gradient_norm_are_those_of_the_batch(batch):
    """With u = eps - x_0 and out = w x_t, the mean of (w x_t - u)^2 and its derivative, from recovered draws."""
    seen = {}

    def spy(params, x, time_input, condition, *, key=None):
        jax.debug.callback(lambda x, t: seen.update(x=x, t=t), x, time_input)
        return linear(params, x, time_input, condition, key=key)

    loss = training.make_loss(spy, time_input=time_inputs.scaled)
    state = state_of()
    _, metrics = jax.jit(training.make_train_step(loss, training.adam(), lambda step: 1.0))(state, batch)
    jax.effects_barrier()
    t = np.asarray(seen["t"], np.float64)[:, None] / 999
    x_t = np.asarray(seen["x"], np.float64)
    u = (x_t - (1 - t) * np.asarray(batch["x"])) / t - np.asarray(batch["x"])
    error = 0.5 * x_t - u
    np.testing.assert_allclose(metrics["loss"], np.mean(error**2), rtol=1e-4)
    np.testing.assert_allclose(metrics["grad_norm"], abs(np.mean(2 * error * x_t)), rtol=1e-4)


def test_draws_depend_on_seed_step_and_example_only():
    key = jax.random.key(0)
    eight, four = sample_keys(key, 5, 8), sample_keys(key, 5, 4)
    assert jnp.array_equal(jax.random.key_data(eight[:4]), jax.random.key_data(four))
    others = [sample_keys(key, 6, 8), sample_keys(jax.random.key(1), 5, 8)]
    for other in others:
        assert not np.any(np.all(jax.random.key_data(eight) == jax.random.key_data(other), axis=-1))


def matrix_step(optimizer):
    """A step of a matrix, and the state before it: the loss is |w^T x|^2 / 2."""

    def loss(params, hyperparameters, batch, keys, t=None):
        return jnp.square(batch["x"] @ params["w"]).sum(axis=1) / 2

    w = jnp.asarray(np.random.default_rng(1).standard_normal((16, 16)), jnp.float32)
    state = training.init_state(0, lambda key: {"w": w}, optimizer, HYPERPARAMETERS)
    return jax.jit(training.make_train_step(loss, optimizer, lambda step: 1.0), donate_argnums=0), state


MATRICES = {"x": jnp.asarray(np.random.default_rng(2).standard_normal((8, 16)), jnp.float32)}


@pytest.mark.skipif(jax.default_backend() != "cpu" or jax.device_count() > 1, reason="it is for one CPU device")
def test_the_state_is_written_in_its_place():
    """The compiled step copies no parameters and no moments before it writes the new ones over them."""
    step, state = matrix_step(training.adam(max_grad_norm=1.0))
    text = step.lower(state, MATRICES).compile().as_text()
    assert "f32[16,16]" in text and not re.findall(r"f32\[16,16\]\S* copy\(", text)


def test_steps_are_those_of_optax(monkeypatch):
    """Clipping and the order of the updates and of the new state change nothing beyond rounding."""
    theirs = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())
    step, state = matrix_step(training.adam(max_grad_norm=1.0))
    for _ in range(3):
        state, metrics = step(state, MATRICES)
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    plain, expected = matrix_step(theirs)
    for _ in range(3):
        expected, _ = plain(expected, MATRICES)
    assert float(metrics["grad_norm"]) > 1
    for ours, other in (
        (state.params, expected.params),
        (state.ema, expected.ema),
        (state.opt_state, expected.opt_state),
    ):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7), ours, other)


def test_hyperparameters_are_traced(batch):
    """New learning rates, decays and densities run the same program; a vmapped sweep is one more axis."""
    traces = []

    def counted(*arguments, **options):
        traces.append(1)
        return linear(*arguments, **options)

    loss = training.make_loss(counted, time_input=time_inputs.scaled)
    step = jax.jit(training.make_train_step(loss, training.adam(), lambda step: 1.0))
    step(state_of(), batch)
    once = len(traces)
    changed = dataclasses.replace(
        HYPERPARAMETERS,
        learning_rate=0.2,
        averagings=(training.ema.Constant(0.5),),
        time_density=time_sampling.Uniform(low=0.1, high=0.9),
    )
    faster, _ = step(state_of(changed), batch)
    assert len(traces) == once
    assert abs(faster.params["w"].item() - 0.5) == pytest.approx(0.2, rel=1e-5)

    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), state_of(), state_of(changed))
    step = training.make_train_step(loss, training.adam(), lambda step: 1.0)
    both, _ = jax.jit(jax.vmap(step, (0, None)))(states, batch)
    np.testing.assert_allclose(both.params["w"][1], faster.params["w"], rtol=1e-6)


def test_conditions_are_dropped_per_sample(batch):
    """A network that answers its label: dropping it all makes another loss, dropping none the same."""

    def loss_with(**options):
        loss = training.make_loss(linear, time_input=time_inputs.scaled, condition_names=("label",), **options)
        state = state_of()
        return loss(state.params, state.hyperparameters, batch, sample_keys(state.key, 0, 8))

    def null_all(keys, condition):
        return {"label": jnp.zeros_like(condition["label"])}

    kept, dropped = loss_with(), loss_with(drop_condition=null_all)
    np.testing.assert_allclose(kept[0], dropped[0], rtol=1e-6)  # label 0 is what null_all answers
    assert np.all(np.abs(kept[1:] - dropped[1:]) > 1e-3)
    np.testing.assert_allclose(loss_with(drop_condition=lambda keys, condition: condition), kept)


def test_a_reference_makes_its_exact_denoiser_the_target(batch):
    """Stable targets: with points y_j, the target's x_0 is sum_j p_j y_j, p_j ~ exp(-(x_t - alpha y_j)^2 / 2 sigma^2).

    In float64, from recovered draws; with u = eps - x_0 and out = w x_t as above.
    """
    seen = {}

    def spy(params, x, time_input, condition, *, key=None):
        seen.update(x=x, t=time_input)
        return linear(params, x, time_input, condition, key=key)

    points = np.array([[-1.5], [0.25], [2.0]])
    loss = training.make_loss(spy, time_input=time_inputs.scaled)
    state = state_of(dataclasses.replace(HYPERPARAMETERS, reference=points))
    found = loss(state.params, state.hyperparameters, batch, sample_keys(state.key, 0, 8))
    t, x_t = (np.asarray(seen[name], np.float64).reshape(8, 1) for name in ("t", "x"))
    t = t / 999
    logits = -((x_t - (1 - t) * points.T) ** 2) / (2 * t**2)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    x_0 = weights @ points / weights.sum(axis=1, keepdims=True)
    u = (x_t - (1 - t) * x_0) / t - x_0
    np.testing.assert_allclose(found, (0.5 * x_t - u)[:, 0] ** 2, rtol=1e-3)
    plain = loss(state.params, HYPERPARAMETERS, batch, sample_keys(state.key, 0, 8))
    assert np.all(np.abs(plain - found) > 1e-3 * found)


def test_evaluation_keys_are_the_same_at_every_step_and_no_keys_of_training():
    state = state_of()
    keys = jax.random.key_data(training.evaluation_keys(state.key, 8))
    assert jnp.array_equal(keys[:4], jax.random.key_data(training.evaluation_keys(state.key, 4)))
    of_training = [jax.random.key_data(sample_keys(state.key, step, 8)) for step in range(20)]
    everything = np.concatenate([keys, *of_training])
    assert len(np.unique(everything, axis=0)) == len(everything)


def test_preprocessing_draws_from_keys_of_its_own(batch):
    """Neither the examples' keys nor what the loss and dropout make of them."""
    seen = {}
    keys = sample_keys(jax.random.key(0), 0, 8)
    made = training.preprocessed(batch, keys, lambda batch, keys: seen.update(keys=keys) or {"x": 2 * batch["x"]})
    np.testing.assert_array_equal(made["x"], 2 * batch["x"])
    assert set(made) == {"x"}
    others = [keys, *(jax.vmap(lambda key: jax.random.split(key, 2))(keys)[:, i] for i in range(2))]
    others += [jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(keys) for i in range(50)]
    everything = np.concatenate([jax.random.key_data(each) for each in (seen["keys"], *others)])
    own, rest = everything[:8], everything[8:]
    assert len(np.unique(own, axis=0)) == 8
    assert not np.any(np.all(own[:, None] == rest[None], axis=-1))
    assert training.preprocessed(batch, keys, None) is batch


def test_saved_and_restored_states_are_equal():
    two = (training.ema.Constant(0.9), training.ema.Power.of_length(0.1))
    state = state_of(dataclasses.replace(HYPERPARAMETERS, averagings=two))
    state = dataclasses.replace(state, ema=tuple({"w": jnp.full((1, 1), value)} for value in (3.0, 4.0)))
    # Every number of it is its own, so that none can come from elsewhere.
    numbers = itertools.count(10)
    state = jax.tree.map(lambda leaf: leaf if is_key(leaf) else jnp.full_like(leaf, next(numbers)), state)
    state = dataclasses.replace(state, key=jax.random.key(99))
    other = state_of(dataclasses.replace(HYPERPARAMETERS, averagings=two, learning_rate=0.3))
    restored = other.with_saved(state.saved())
    assert restored.hyperparameters is other.hyperparameters
    values = [np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf) for leaf in learned(restored)]
    expected = [np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf) for leaf in learned(state)]
    # step, key, one weight, Adam's count and two moments, two averages, two counts of skipped steps.
    assert len(values) == len(expected) == 1 + 1 + 1 + 3 + 2 + 2
    for ours, theirs in zip(values, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [average["w"].item() for average in restored.ema] == [average["w"].item() for average in state.ema]
    assert len({float(value.ravel()[0]) for value in values}) == len(values)


def is_key(leaf):
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def learned(state):
    """The arrays of a state but for its hyperparameters."""
    return jax.tree.leaves(dataclasses.replace(state, hyperparameters=None))


def test_a_checkpoint_names_every_average_and_has_no_hyperparameters():
    """Hyperparameters come from the configuration, so that a run can go on with others."""
    two = (training.ema.Constant(0.9), training.ema.Power.of_length(0.1))
    state = state_of(dataclasses.replace(HYPERPARAMETERS, averagings=two))
    state = dataclasses.replace(state, ema=tuple({"w": jnp.full((1, 1), value)} for value in (3.0, 4.0)))
    saved = state.saved()
    assert set(saved) == {"step", "key", "params", "opt_state", "ema", "skipped", "skipped_in_a_row"}
    assert {name: average["w"].item() for name, average in saved["ema"].items()} == {"0": 3.0, "1": 4.0}


def test_data_on_the_device_and_from_the_host_train_alike():
    """Flips are drawn in the step on both paths, and what follows is compiled as if the batch had been given.

    To the bit on processors with AVX-512; with AVX2 the two programs round sums in another order.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    images = data.dataset.Dataset(name="noise", examples=pixels, num_levels=256)

    def preprocess(batch, keys):
        return {"x": data.augment.flipped(keys, images.to_network_range(batch["x"]))}

    def network(params, x, time_input, condition, *, key=None):
        return jnp.tanh(x @ params["w"]) @ params["w"].T

    def init(key):
        return {"w": jax.random.normal(key, (3, 5))}

    loss = training.make_loss(network, time_input=time_inputs.scaled)
    step = jax.jit(training.make_train_step(loss, training.adam(), lambda step: 1.0, preprocess=preprocess))
    ends = []
    for batches in (data.device_dataset.batches(images, 8, 1), data.pipeline.Pipeline(images, 8, 1).batches()):
        state = training.init_state(3, init, training.adam(), HYPERPARAMETERS)
        for batch in itertools.islice(batches, 7):
            state, metrics = step(state, batch)
        ends.append((np.asarray(state.params["w"]), float(metrics["loss"])))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-5)
    np.testing.assert_allclose(ends[0][1], ends[1][1], rtol=1e-6)


def test_a_step_that_is_not_finite_changes_nothing_but_the_counters():
    def loss(params, hyperparameters, batch, keys, t=None):
        # The slope of the root at c = 0 is 0 / 0, its value is not.
        return params["w"][0, 0] * batch["x"][:, 0] + jnp.sqrt(batch["c"] * params["w"][0, 0])

    step = jax.jit(training.make_train_step(loss, training.adam(), lambda step: 1.0))
    batch = {"x": jnp.arange(4.0)[:, None], "c": jnp.ones(4)}
    before, _ = step(state_of(), batch)
    state = before
    for count, odd in enumerate(({"x": batch["x"].at[3].set(jnp.nan)}, {"c": batch["c"].at[0].set(0.0)}), start=1):
        state, metrics = step(state, batch | odd)
        assert np.isfinite(metrics["loss"]) == ("c" in odd) and not np.isfinite(metrics["grad_norm"])
        assert int(metrics["skipped"]) == int(metrics["skipped_in_a_row"]) == int(state.skipped) == count
        assert int(state.step) == 1 + count
    for name in ("params", "opt_state", "ema"):
        for new, old in zip(*(jax.tree.leaves(getattr(s, name)) for s in (state, before)), strict=True):
            np.testing.assert_array_equal(new, old)
    # The next good batch is trained on, at its own step.
    after, metrics = step(state, batch)
    assert int(after.skipped) == 2 and int(after.skipped_in_a_row) == 0 and int(metrics["skipped"]) == 2
    expected, _ = step(dataclasses.replace(before, step=before.step + 2), batch)
    np.testing.assert_array_equal(after.params["w"], expected.params["w"])
    assert after.params["w"].item() != before.params["w"].item()


def test_a_curriculum_sees_how_much_of_the_training_is_done(batch):
    """The share of steps made before this one; 1 outside of training, where the objective is that of its end."""

    def loss(keys, predict, schedule, parameterization, x_0, *, progress, **options):
        return jnp.full(len(keys), progress) + 0 * predict(x_0, jnp.ones(len(keys)), key=None)[:, 0]

    batch_loss = training.make_loss(linear, time_input=time_inputs.scaled, loss=loss)
    step = jax.jit(training.make_train_step(batch_loss, training.adam(), lambda step: 1.0, num_steps=4))
    state, seen = state_of(), []
    for _ in range(3):
        state, metrics = step(state, batch)
        seen.append(float(metrics["loss"]))
    assert seen == [0.0, 0.25, 0.5] and float(state.hyperparameters.progress) == 1.0
    keys = sample_keys(state.key, 0, 8)
    np.testing.assert_array_equal(batch_loss(state.params, state.hyperparameters, batch, keys), 1.0)
    assert training.takes(losses.alpha_flow, "progress") and not training.takes(losses.denoising, "progress")
