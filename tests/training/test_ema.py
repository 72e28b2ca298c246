"""Averages against their recursions in float64, and averages of other lengths against those tracked directly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.runs import packing
from diffax.training import ema, posthoc

VALUES = np.random.default_rng(0).standard_normal((50, 3))
# sigma_rel of integer powers, from its definition: sqrt((g + 1) / ((g + 2)^2 (g + 3))).
LENGTH_OF_POWER = {1: (2 / (9 * 4)) ** 0.5, 7: (8 / (81 * 10)) ** 0.5}


def tracked(averaging, values, batch_size=1):
    average = jnp.full(values.shape[1], 9.0)
    for n, value in enumerate(values):
        share = averaging.share(jnp.asarray(n), batch_size)
        average = ema.update(average, jnp.asarray(value, jnp.float32), share)
    return average


def by_recursion(decays, values):
    average = np.full(values.shape[1], 9.0)
    for decay, value in zip(decays, values, strict=True):
        average = decay * average + (1 - decay) * value
    return average


def test_constant_decay_warms_up():
    decays = [min(0.9, (1 + n) / (10 + n)) for n in range(50)]
    np.testing.assert_allclose(tracked(ema.Constant(0.9), VALUES), by_recursion(decays, VALUES), rtol=1e-5)


def test_half_life_is_in_examples_and_ramps_up():
    """EDM: 0.5^(batch / max(min(half-life, ramp-up n batch), 1e-8)); after 20 half-lives a millionth is left."""
    decays = [0.5 ** (4 / max(min(40, 0.5 * n * 4), 1e-8)) for n in range(50)]
    averaging = ema.HalfLife(images=40.0, ramp_up=0.5)
    np.testing.assert_allclose(tracked(averaging, VALUES, 4), by_recursion(decays, VALUES), rtol=1e-5)
    left = np.prod([1 - float(averaging.share(jnp.asarray(n), 4)) for n in range(100, 300)])
    assert left == pytest.approx(2.0**-20, rel=1e-4)


@pytest.mark.parametrize("power", [1, 7])
def test_power_function_weights(power):
    """The average is the mean of all parameters weighted by t^(g+1) - (t-1)^(g+1), whatever it began with."""
    averaging = ema.Power.of_length(LENGTH_OF_POWER[power])
    assert averaging.exponent == pytest.approx(power, rel=1e-9)
    weights = np.diff(np.arange(51.0) ** (power + 1))
    np.testing.assert_allclose(tracked(averaging, VALUES), weights @ VALUES / weights.sum(), rtol=2e-5, atol=1e-6)


def test_a_long_average_keeps_its_share_in_float32():
    """At step 10 million 1 - decay is 8e-7, of which float32 would keep one digit in the decay."""
    share = ema.Power(7.0).share(jnp.asarray(10_000_000), 1)
    assert float(share) == pytest.approx(-np.expm1(8 * np.log1p(-1 / 10_000_001)), rel=1e-5)


@pytest.mark.parametrize("length", [0.0, 0.3])
def test_impossible_lengths_are_refused(length):
    with pytest.raises(ValueError, match=r"must be in \(0, 0.28\], got"):
        ema.Power.of_length(length)


def random_walk(lengths, *, num_steps, every):
    """Parameters of a training that drifts; states with their averages, by the recursion in float64."""
    walk = np.random.default_rng(1).standard_normal((num_steps, 40)).cumsum(0) / num_steps**0.5 + 1
    exponents = np.array([ema.exponent_of(length) for length in lengths])[:, None]
    averages = np.zeros((len(lengths), 40))
    for t, params in enumerate(walk, start=1):
        averages = params + (1 - 1 / t) ** (exponents + 1) * (averages - params)
        if t % every == 0:
            yield t, averages, params


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_other_lengths_after_training(tmp_path, dtype):
    """From 80 snapshots of two lengths: to 1% those tracked directly, at every length the paper covers.

    To 1% even of the way from the average to the last parameters, at the end.
    """
    stored, others = (0.05, 0.1), (0.05, 0.075, 0.1, 0.15, 0.2, 0.25)
    rules = (ema.Constant(0.9), *map(ema.Power.of_length, stored))  # only power functions are stored
    for t, averages, _ in random_walk(stored, num_steps=2000, every=25):
        trees = tuple({"w": jnp.asarray(row, jnp.float32)} for row in (averages[0] * 0, *averages))
        posthoc.save(tmp_path, t, list(zip(rules, trees, strict=True)), dtype)
    snapshots = posthoc.find(tmp_path)
    assert len(snapshots) == 2 * 80 and snapshots[-1].step == 2000
    *_, (_, early, at_1000), (_, direct, last) = random_walk(others, num_steps=2000, every=1000)
    for step, averages, params in ((2000, direct, last), (1000, early, at_1000)):
        for length, average in zip(others, averages, strict=True):
            made = posthoc.reconstruct(snapshots, length, step, {"w": jnp.zeros(40)})["w"]
            assert made.dtype == np.float32
            error = np.linalg.norm(made - average)
            assert error < 0.01 * np.linalg.norm(average)
            assert error < 0.01 * np.linalg.norm(average - params) or step < 2000


def test_packed_parameters_and_those_of_another_network(tmp_path):
    params = {"layer": {"bias": jnp.arange(3.0), "kernel": jnp.ones((2, 2))}, "scale": jnp.full(2, 5.0)}
    packed = packing.pack(params)
    posthoc.save(tmp_path, 10, [(ema.Power.of_length(0.1), packed)])
    made = posthoc.reconstruct(posthoc.find(tmp_path), 0.1, 10, packed)
    jax.tree.map(np.testing.assert_allclose, packing.unpack(made), params)
    for other in (params, packing.pack(params | {"scale": jnp.ones(3)})):
        with pytest.raises(ValueError, match=r"00000010.npz has no .*: it is of another network"):
            posthoc.reconstruct(posthoc.find(tmp_path), 0.1, 10, other)


def test_the_closest_combination_of_the_same_average_is_itself():
    steps, exponents = np.array([100.0, 200, 300]), np.array([7.0, 16, 7])
    np.testing.assert_allclose(posthoc.weights(steps, exponents, 200, 16.0), [0, 1, 0], atol=1e-9)


def test_nothing_to_reconstruct_from(tmp_path):
    with pytest.raises(ValueError, match="no snapshot up to step 5, only of no step"):
        posthoc.reconstruct(posthoc.find(tmp_path), 0.1, 5, {"w": jnp.zeros(2)})
