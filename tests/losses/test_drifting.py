"""Drifting models: the field by its definition in NumPy, its symmetry and equilibrium, and the loss that follows it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial
import scipy.special

from diffax import losses, processes, schedules
from diffax.losses import weighting
from diffax.processes import time_sampling

KEYS = jax.random.split(jax.random.key(0), 12)
RULES = {"weighting": weighting.Flow(), "time_density": time_sampling.Uniform()}
FLOW = (schedules.Flow(), processes.FlowVelocity())


def numpys(x, positives, negatives, temperature, acts_p=None, acts_n=None):
    """The field in float64 by loops, as algorithm 2 of arXiv:2602.04770 puts it: two softmaxes, then two sums."""
    acts_p = np.ones((len(x), len(positives))) if acts_p is None else acts_p
    acts_n = np.ones((len(x), len(negatives))) if acts_n is None else acts_n
    everything, acts = np.concatenate([positives, negatives]), np.concatenate([acts_p, acts_n], axis=1)
    distances = scipy.spatial.distance.cdist(x, everything)
    with np.errstate(divide="ignore"):
        logits = -distances / temperature + np.log(acts > 0)
    rows = scipy.special.softmax(logits, axis=1)
    columns = np.stack(
        [scipy.special.softmax(column) if np.isfinite(column).any() else 0 * rows[:, 0] for column in logits.T], axis=1
    )
    a = np.sqrt(rows * columns) * acts
    field = np.zeros_like(x)
    for i in range(len(x)):
        for j, positive in enumerate(positives):
            for k, negative in enumerate(negatives):
                field[i] += a[i, j] * a[i, len(positives) + k] * (positive - negative)
    return field


def sets(seed, *sizes, dim=3):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((size, dim)) + index for index, size in enumerate(sizes)]


@pytest.mark.parametrize("temperature", [0.05, 0.7])
def test_the_field_is_its_definition_in_numpy(temperature):
    x, positives, negatives = sets(0, 5, 7, 6)
    rng = np.random.default_rng(1)
    weights = [rng.integers(0, 2, (5, size)) * rng.uniform(0.2, 2, (5, size)) for size in (7, 6)]
    with jax.enable_x64(True):
        points, given = map(jnp.asarray, (x, positives, negatives)), map(jnp.asarray, weights)
        field = functools.partial(losses.drifting_field, *points, temperature=temperature)
        plain = field()
        weighted = field(**dict(zip(("positive_weights", "negative_weights"), given, strict=True)))
    np.testing.assert_allclose(plain, numpys(x, positives, negatives, temperature), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(weighted, numpys(x, positives, negatives, temperature, *weights), rtol=1e-10, atol=1e-14)


def test_exchanging_data_and_samples_changes_the_sign_and_equal_ones_give_nothing():
    x, data = (jnp.asarray(one, jnp.float32) for one in sets(2, 40, 30))
    field = jax.jit(functools.partial(losses.drifting_field, temperature=0.3))
    there = field(x, data, x)
    np.testing.assert_allclose(there, -field(x, x, data), atol=1e-6)
    assert np.abs(there).max() > 0.05
    assert np.abs(field(x, x, x)).max() < 1e-6


def test_the_field_of_equal_distributions_vanishes_in_expectation():
    """Of independent draws of one distribution; and does not where the samples are off by a tenth."""

    def field(key, shift):
        normal = jax.random.normal(key, (65, 2))
        x, data = normal[:32] + shift, normal[32:64]
        others = 1 - jnp.eye(32)
        point = normal[64:] / 2 + shift  # what acts on a point beside the samples
        alone = losses.drifting_field(point, data, x, temperature=0.5)[0]
        batch = losses.drifting_field(x, data, x, temperature=0.5, negative_weights=others).mean(axis=0)
        return alone, batch

    keys = jax.random.split(jax.random.key(1), 2000)
    for shift, is_zero in ((0.0, True), (0.1, False)):
        for values in jax.jit(jax.vmap(field, in_axes=(0, None)))(keys, shift):
            error = values.std(axis=0) / len(values) ** 0.5
            off = np.abs(values.mean(axis=0)) / error
            assert (off < 3.5).all() if is_zero else (off > 10).all()


def samples_of(offset):
    """(predict, the samples it generates under flow): eps - net_out."""

    def predict(x_t, t, s=None, *, key=None):
        return x_t - offset

    return predict


def value_and_gradient(offset, data, **options):
    def loss(offset):
        return losses.drifting(KEYS, samples_of(offset), *FLOW, data, **RULES, **options).sum()

    return jax.tree.map(np.asarray, jax.jit(jax.value_and_grad(loss))(offset))


def test_the_loss_moves_samples_along_the_field():
    """Its value is the mean square of the field in scaled coordinates, its gradient -2 V of them; both from NumPy."""
    x, data = sets(3, 12, 12)
    labels = np.arange(12) % 3
    same = (labels[:, None] == labels[None]).astype(float)
    with jax.enable_x64(True):
        plain = value_and_gradient(jnp.asarray(x), jnp.asarray(data), temperatures=(0.2,), normalised=False)
        options = {"labels": jnp.asarray(labels), "guidance": 1.5, "temperatures": (0.2, 0.5)}
        guided = value_and_gradient(jnp.asarray(x), jnp.asarray(data), **options)
    others = 1 - np.eye(12)
    mean = _mean_distance(x, data, [np.ones((12, 12)), others])
    unit = mean / 3**0.5
    field = numpys(x, data, x, 0.2 * mean, None, others) / unit
    np.testing.assert_allclose(plain[0], (field**2).mean(axis=1).sum(), rtol=1e-9)
    np.testing.assert_allclose(plain[1], -2 * field / unit / 3, rtol=1e-9)

    # By classes, of four examples each; all data are negatives of weight 3 (1.5 - 1) / 12.
    negatives, acts = np.concatenate([x, data]), np.concatenate([same * others, np.full((12, 12), 0.125)], axis=1)
    mean = _mean_distance(x, negatives[12:], [same, acts[:, :12], acts[:, 12:]])
    fields = [numpys(x, data, negatives, r * mean, same, acts) for r in (0.2, 0.5)]
    total = sum(one / np.sqrt((one**2).mean()) for one in fields)
    np.testing.assert_allclose(guided[0], (total**2).mean(axis=1).sum(), rtol=1e-9)
    np.testing.assert_allclose(guided[1], -2 * total / (mean / 3**0.5) / 3, rtol=1e-9)


def _mean_distance(x, data, weights):
    sets = [data, x, data][: len(weights)]
    distances = [scipy.spatial.distance.cdist(x, one) for one in sets]
    return sum((w * d).sum() for w, d in zip(weights, distances, strict=True)) / sum(w.sum() for w in weights)


def test_features_are_followed_to_the_samples():
    """In features x^3 the gradient is that of the features times 3 x^2."""
    x, data = sets(4, 12, 12)
    with jax.enable_x64(True):
        cubes = losses.Representation(jax.tree_util.Partial(lambda x: x**3))
        options = {"temperatures": (0.3,), "normalised": False}
        value, gradient = value_and_gradient(jnp.asarray(x), jnp.asarray(data), representation=cubes, **options)
        of_cubes, gradient_of_cubes = value_and_gradient(jnp.asarray(x**3), jnp.asarray(data**3), **options)
    np.testing.assert_allclose(value, of_cubes, rtol=1e-10)
    np.testing.assert_allclose(gradient, 3 * x**2 * gradient_of_cubes, rtol=1e-9)


def test_a_network_of_two_times_is_told_to_go_to_0():
    told = []

    def predict(x_t, t, s=None, *, key=None):
        told.append((t, s))
        return x_t

    losses.drifting(KEYS, predict, *FLOW, jnp.zeros((12, 2)), **RULES, two_times=True)
    [(t, s)] = told
    assert np.array_equal(t, np.ones(12)) and np.array_equal(s, np.zeros(12))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance": 2.0}, r"loss.guidance = 2 needs a network with classes"),
        ({"guidance": 0.5}, r"loss.guidance = 0.5 needs a scale >= 1"),
        ({"temperatures": (0.1, 0.0)}, r"loss.temperatures must be numbers > 0, got \(0.1, 0.0\)"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        losses.drifting(KEYS, samples_of(0.0), *FLOW, jnp.zeros((12, 2)), **RULES, **options)
