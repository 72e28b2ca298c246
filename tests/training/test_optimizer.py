"""Learning rates, clipping and averages against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax.contrib
import pytest

from diffax import training
from diffax.training import optimizer


def test_warm_up_then_cosine():
    shape = training.learning_rate_shape(110, warmup_steps=10, decay="cosine", final_fraction=0.1)
    for step, expected in [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (60, 0.55), (110, 0.1), (500, 0.1)]:
        assert float(shape(jnp.asarray(step))) == pytest.approx(expected, abs=1e-6)


def test_linear_and_constant():
    linear = training.learning_rate_shape(100, decay="linear")
    assert [round(float(linear(jnp.asarray(s))), 4) for s in (0, 25, 100)] == [1.0, 0.75, 0.0]
    constant = training.learning_rate_shape(100, warmup_steps=1)
    assert [float(constant(jnp.asarray(s))) for s in (0, 1, 1000)] == [1.0, 1.0, 1.0]


def test_clipping_scales_the_whole_gradient_and_decay_is_decoupled():
    grads = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    clipped = training.adam(max_grad_norm=1.0)
    state = clipped.init(grads)
    _, state = clipped.update(grads, state, grads)
    # Adam's first moment after one step is (1 - b1) times the gradient, whose norm 5 was clipped to 1.
    np.testing.assert_allclose(state[1].mu["b"], 0.1 * 4 / 5, rtol=1e-6)
    decayed = training.adam(weight_decay=0.5)
    updates, _ = decayed.update({"a": jnp.zeros(1)}, decayed.init({"a": jnp.ones(1)}), {"a": jnp.full(1, 2.0)})
    np.testing.assert_allclose(updates["a"], 1.0)


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
        half, full = make(moment_dtype=jnp.bfloat16), make()
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
    ("make", "said"),
    [
        (lambda: training.adam(max_grad_norm=0.0), "max_grad_norm must be > 0"),
        (lambda: training.adam(weight_decay=-1.0), "weight_decay must be >= 0"),
        (lambda: training.muon(max_grad_norm=-1.0), "max_grad_norm must be > 0"),
        (lambda: training.muon(newton_schulz_steps=0), "newton_schulz_steps must be >= 1"),
        (lambda: training.learning_rate_shape(10, decay="exponential"), "decay must be one of"),
        (lambda: training.learning_rate_shape(10, warmup_steps=10, decay="cosine"), "below the 10 steps"),
    ],
)
def test_errors(make, said):
    with pytest.raises(ValueError, match=said):
        make()
