"""Learning-rate schedules against their closed forms in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from diffax import build_training
from diffax.training import learning_rate

STEPS = np.arange(0, 151)


def evaluate(shape):
    """The fractions at STEPS; the same in a compiled program with a traced step, as in the training step."""
    compiled = jax.jit(jax.vmap(lambda step: jnp.asarray(shape(step), jnp.float32)))(jnp.asarray(STEPS))
    eager = [float(shape(jnp.asarray(step))) for step in STEPS[::30]]
    np.testing.assert_allclose(compiled[::30], eager, rtol=1e-6, atol=1e-7)
    return np.asarray(compiled)


def test_constant():
    np.testing.assert_array_equal(evaluate(learning_rate.constant(100)), np.ones(151))


@pytest.mark.parametrize("final_fraction", [0.0, 0.1])
def test_cosine(final_fraction):
    """f + (1 - f) (1 + cos(pi t / T)) / 2 up to T, then f."""
    passed = np.minimum(STEPS / 100, 1)
    expected = final_fraction + (1 - final_fraction) * (1 + np.cos(np.pi * passed)) / 2
    found = evaluate(learning_rate.cosine(100, final_fraction=final_fraction))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("final_fraction", [0.0, 0.1])
def test_linear(final_fraction):
    """1 - (1 - f) t / T up to T, then f."""
    expected = 1 - (1 - final_fraction) * np.minimum(STEPS / 100, 1)
    found = evaluate(learning_rate.linear(100, final_fraction=final_fraction))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("decay", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup_steps", [0, 1, 2, 10])
def test_warm_up_is_linear_and_then_the_decay_begins(decay, warmup_steps):
    """(t + 1) / W in the first W steps: the first step already moves, and step W - 1 has the peak."""
    after = np.minimum(np.maximum(STEPS - warmup_steps, 0) / 100, 1)
    decayed = {"constant": np.ones(151), "linear": 1 - after, "cosine": (1 + np.cos(np.pi * after)) / 2}[decay]
    expected = np.where(warmup_steps > STEPS, (STEPS + 1) / max(warmup_steps, 1), decayed)
    found = evaluate(learning_rate.with_warmup(getattr(learning_rate, decay)(100), warmup_steps))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def config(decay, warmup_steps, **options):
    optimizer = {"warmup_steps": warmup_steps, "decay": {"name": decay, **options}}
    return ConfigDict({"optimizer": optimizer, "train": {"num_steps": 110}})


def test_a_configured_decay_ends_with_training():
    shape = build_training.learning_rate_shape(config("cosine", 10, final_fraction=0.1))
    for step, expected in [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (60, 0.55), (110, 0.1), (500, 0.1)]:
        assert float(shape(jnp.asarray(step))) == pytest.approx(expected, abs=1e-6)
    linear = build_training.learning_rate_shape(config("linear", 0))
    assert [round(float(linear(jnp.asarray(s))), 4) for s in (0, 55, 110)] == [1.0, 0.5, 0.0]
    constant = build_training.learning_rate_shape(config("constant", 1))
    assert [float(constant(jnp.asarray(s))) for s in (0, 1, 1000)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("decay", "warmup_steps", "message"),
    [
        ("exponential", 0, "decay.name must be one of constant, cosine, linear, .* got 'exponential'"),
        ("cosine", 110, "below the 110 steps of training, got 110"),
        ("constant", -1, "warmup_steps must be >= 0 .* got -1"),
    ],
)
def test_unfit_settings_are_refused(decay, warmup_steps, message):
    with pytest.raises(ValueError, match=message):
        build_training.learning_rate_shape(config(decay, warmup_steps))
