"""Adam, Muon, gradient clipping and weight decay against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax.contrib
import pytest

from diffax import losses, networks, processes, schedules, training
from diffax.conditions import Classes, Vector
from diffax.processes import time_sampling
from diffax.runs import packing
from diffax.training import optimizer

MODULE = networks.MLP(hidden=8, depth=1, conditions={"label": Classes(3), "context": Vector(2)})
# Of MODULE; all other parameters are biases and embeddings.
BLOCKS = {"layer_0_1/kernel", "layer_0_2/kernel", "layer_0_condition/kernel"}
ENDS = {"first/kernel", "last/kernel"}


def draw(seed):
    """Gaussian numbers as parameters of MODULE, or as gradients."""
    shapes = jax.eval_shape(lambda: networks.Linen(MODULE).init(jax.random.key(0), (2,)))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), jnp.float32), shapes)


def by_path(params):
    leaves = jax.tree_util.tree_leaves_with_path(packing.unpack(params))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


def test_clipping_scales_the_whole_gradient():
    grads = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    clipped = training.adam(max_grad_norm=1.0)
    state = clipped.init(grads)
    _, state = clipped.update(grads, state, grads)
    # Adam's first moment after one step is (1 - b1) times the gradient, whose norm 5 was clipped to 1.
    np.testing.assert_allclose(state[1].mu["b"], 0.1 * 4 / 5, rtol=1e-6)


def test_decay_is_decoupled():
    """AdamW adds weight_decay times the parameter to Adam's update, which it does not change."""
    grads, params = {"kernel": jnp.array([[3.0, -4.0]])}, {"kernel": jnp.array([[2.0, 8.0]])}
    decayed, plain = training.adam(weight_decay=0.5), training.adam()
    for gradient in (grads, {"kernel": jnp.zeros((1, 2))}):
        ours, _ = decayed.update(gradient, decayed.init(params), params)
        theirs, _ = plain.update(gradient, plain.init(params), params)
        np.testing.assert_allclose(ours["kernel"], theirs["kernel"] + np.array([[1.0, 4.0]]), rtol=1e-6)


@pytest.mark.parametrize("arrange", [lambda params: params, packing.pack])
@pytest.mark.parametrize("make", [training.adam, training.muon])
def test_only_kernels_are_decayed(make, arrange):
    """Without a gradient, two steps multiply a kernel twice by 1 - learning rate x decay, to the bit: powers of two.

    Biases and embeddings stay as they are. As a run has its parameters, packed, and as a network has them.
    """
    decayed = make(weight_decay=0.5)
    hyperparameters = training.Hyperparameters(
        learning_rate=2.0**-3,
        averagings=(training.ema.Constant(0.9),),
        schedule=schedules.Flow(),
        parameterization=processes.V(),
        weighting=losses.weighting.Uniform(),
        time_density=time_sampling.Uniform(),
    )
    step = jax.jit(
        training.make_train_step(
            lambda params, hyperparameters, batch, keys, t=None: jnp.zeros(len(batch["x"])), decayed, lambda step: 1.0
        )
    )
    state = training.init_state(0, lambda key: arrange(draw(0)), decayed, hyperparameters)
    before = by_path(state.params)
    for _ in range(2):
        state, _ = step(state, {"x": jnp.zeros((4, 2))})
    after = by_path(state.params)
    kernels = BLOCKS | ENDS
    assert kernels < set(before) == set(after) and len(before) == 15
    for path, value in before.items():
        factor = np.float32(1 - 2.0**-4) if path in kernels else np.float32(1)
        np.testing.assert_array_equal(after[path], value * factor * factor, err_msg=path)


def newton_schulz(matrix, num_steps):
    """Muon's polynomial of the singular values, s <- 3.4445 s - 4.775 s^3 + 2.0315 s^5 from s / |s|, in float64."""
    u, singular, v = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
    singular = singular / np.linalg.norm(singular)
    for _ in range(num_steps):
        singular = 3.4445 * singular - 4.7750 * singular**3 + 2.0315 * singular**5
    return (u * singular) @ v


@pytest.mark.parametrize("arrange", [lambda params: params, packing.pack])
def test_muon_is_for_blocks_and_adam_for_embeddings_ends_and_biases(arrange):
    """Two steps: Nesterov momentum g + 0.95 (g + 0.95 m), orthogonalized, times 0.2 sqrt(the larger side)."""
    muon, adam = training.muon(b1=0.8, b2=0.95, eps=1e-3), optax.scale_by_adam(0.8, 0.95, 1e-3)
    params = arrange(draw(0))
    state, adam_state = muon.init(params), adam.init(draw(0))
    momentum = dict.fromkeys(BLOCKS, 0.0)
    for seed in (1, 2):
        grads = draw(seed)
        ours, state = jax.jit(muon.update)(arrange(grads), state, params)
        theirs, adam_state = adam.update(grads, adam_state)
        ours, theirs, grads = by_path(ours), by_path(theirs), by_path(grads)
        assert BLOCKS | ENDS < set(ours) == set(theirs)
        for path in set(ours) - BLOCKS:
            np.testing.assert_allclose(ours[path], theirs[path], rtol=1e-5, err_msg=path)
        for path in BLOCKS:
            momentum[path] = grads[path] + 0.95 * momentum[path]
            expected = 0.2 * np.sqrt(8) * newton_schulz(grads[path] + 0.95 * momentum[path], 5)
            np.testing.assert_allclose(ours[path], expected, atol=1e-4, err_msg=path)
            assert np.abs(ours[path] - theirs[path]).max() > 0.1


def test_muon_evens_the_singular_values_of_a_kernel_and_leaves_the_rest_to_adam():
    """Muon is U V^T of the gradient's U S V^T, times 0.2 sqrt(the larger side), to the accuracy of five steps."""
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(n, 4)))[0] for n in (18, 4))
    singular = np.array([1.0, 0.7, 0.4, 0.2])
    grads = {
        "kernel": jnp.asarray((u * singular) @ v.T, jnp.float32).reshape(3, 3, 2, 4),
        "bias": jnp.array([3.0, -2.0]),
    }
    muon = training.muon()
    updates, _ = muon.update(grads, muon.init(grads), grads)
    rotated = u.T @ np.asarray(updates["kernel"], float).reshape(18, 4) @ v / (0.2 * np.sqrt(18))
    np.testing.assert_allclose(np.diag(rotated), 1, atol=0.35)  # arXiv:2502.16982, section 2.1: 0.7 to 1.2
    np.testing.assert_allclose(rotated - np.diag(np.diag(rotated)), 0, atol=1e-5)
    np.testing.assert_allclose(updates["bias"], [1.0, -1.0], rtol=1e-5)  # Adam's first step


def test_moments_in_bfloat16():
    """Half the memory, and the updates of float32 moments to bfloat16's 3 digits; the second moment stays float32."""
    grads = {"kernel": jnp.asarray(np.random.default_rng(0).standard_normal((6, 4)), jnp.float32), "bias": jnp.ones(4)}
    for make in (training.adam, training.muon):
        half, full = make(moment_dtype="bfloat16"), make()
        half_state, full_state = half.init(grads), full.init(grads)
        for scale in (1.0, -0.5, 2.0):
            scaled = jax.tree.map(lambda g, scale=scale: scale * g, grads)
            ours, half_state = half.update(scaled, half_state, grads)
            theirs, full_state = full.update(scaled, full_state, grads)
        for name in grads:
            assert ours[name].dtype == jnp.float32
            np.testing.assert_allclose(ours[name], theirs[name], atol=0.02)
        dtypes = [leaf.dtype for leaf in jax.tree.leaves(half_state)]
        assert dtypes.count(jnp.bfloat16) == 2
        assert dtypes.count(jnp.float32) == (2 if make is training.adam else 1)


@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (8, 8)])
@pytest.mark.parametrize("num_steps", [3, 5])
def test_orthogonalizing_in_the_small_gram_matrix_is_what_optax_does_in_the_whole(shape, num_steps):
    matrix = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)
    theirs = optax.contrib.scale_by_muon(ns_steps=num_steps, nesterov=False)
    expected, _ = theirs.update(matrix, theirs.init(matrix))
    np.testing.assert_allclose(optimizer.orthogonalized(matrix, num_steps), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: training.adam(max_grad_norm=0.0), "max_grad_norm must be > 0"),
        (lambda: training.adam(weight_decay=-1.0), "weight_decay must be >= 0"),
        (lambda: training.muon(max_grad_norm=-1.0), "max_grad_norm must be > 0"),
        (lambda: training.muon(newton_schulz_steps=0), "newton_schulz_steps must be >= 1"),
        (lambda: training.adam(moment_dtype="float8"), "must be one of float32, bfloat16, or None, got 'float8'"),
        (lambda: training.muon(moment_dtype="f32"), "must be one of float32, bfloat16, or None, got 'f32'"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
