"""Optimal-transport coupling against SciPy, brute force and Sinkhorn's iteration in NumPy; in the training step."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from diffax import build_data, build_training, data, resolve
from diffax import config as settings
from diffax.runs import DataDescription, Model, Program
from diffax.training import coupling

RNG = np.random.default_rng(0)
X, EPS = jnp.asarray(RNG.normal(size=(2, 24, 3)), jnp.float32)
KEYS = jax.random.split(jax.random.key(0), 24)
COST = ((np.asarray(X, float)[:, None] - np.asarray(EPS, float)[None]) ** 2).sum(-1)
LABELS = np.arange(24) % 3


def of(rule, same=None, num=24):
    return np.asarray(jax.jit(rule)(KEYS[:num], X[:num], EPS[:num], None if same is None else jnp.asarray(same)))


def test_the_exact_assignment_is_that_of_least_cost_among_all():
    costs = {order: COST[np.arange(6), order].sum() for order in itertools.permutations(range(6))}
    np.testing.assert_array_equal(of(coupling.Exact(), num=6), EPS[np.array(min(costs, key=costs.get))])


def test_the_exact_assignment_is_scipys_as_a_whole_and_within_each_class():
    np.testing.assert_array_equal(of(coupling.Exact()), EPS[optimize.linear_sum_assignment(COST)[1]])
    within = of(coupling.Exact(), LABELS[:, None] == LABELS[None])
    for label in range(3):
        rows = np.flatnonzero(label == LABELS)
        best = optimize.linear_sum_assignment(COST[np.ix_(rows, rows)])[1]
        np.testing.assert_array_equal(within[rows], EPS[rows][best])


def test_images_are_compared_by_all_of_their_pixels():
    flat, images = np.asarray(X, float).reshape(6, 12), X.reshape(6, 2, 2, 3)
    expected = ((flat[:, None] - flat[None] - 1) ** 2).sum(-1)
    np.testing.assert_allclose(coupling.squared_distances(images, images + 1), expected, rtol=1e-5)


def sinkhorn_in_numpy(cost, regularization, num_iterations):
    """Scaling of rows and columns of exp(-cost / regularization), arXiv:1306.0895, algorithm 1; rows scaled last."""
    kernel = np.exp(-cost / (regularization * cost.mean()))
    row = np.ones(len(cost))
    for _ in range(num_iterations):
        column = 1 / (kernel.T @ row)
        row = 1 / (kernel @ column)
    return row[:, None] * kernel * column


def test_sinkhorn_is_sinkhorns_algorithm_and_its_plan_has_the_marginals():
    plan = np.exp(coupling.Sinkhorn(0.1, 30).log_plan(X, EPS))
    np.testing.assert_allclose(plan, sinkhorn_in_numpy(COST, 0.1, 30), rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(plan.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.exp(coupling.Sinkhorn(0.1, 300).log_plan(X, EPS)).sum(0), 1, rtol=1e-3)
    same = LABELS[:, None] == LABELS[None]
    within = np.exp(coupling.Sinkhorn(0.1, 300).log_plan(X, EPS, jnp.asarray(same)))
    assert np.all(within[~same] == 0)
    np.testing.assert_allclose(within.sum(1), 1, rtol=1e-5)


def test_sinkhorn_goes_from_independent_pairs_to_the_exact_assignment_as_the_regularization_falls():
    best = optimize.linear_sum_assignment(COST)[1]
    least, independent = COST[np.arange(24), best].mean(), COST.mean()
    plans = [np.exp(coupling.Sinkhorn(r, 2000).log_plan(X, EPS)) for r in (100.0, 0.3, 0.03, 0.003)]
    costs = np.array([(plan * COST).sum(1).mean() for plan in plans])
    assert np.all(np.diff(costs) < 0)
    np.testing.assert_allclose(plans[0], 1 / 24, rtol=0.1)
    assert abs(costs[0] / independent - 1) < 0.01 and abs(costs[-1] / least - 1) < 0.01
    np.testing.assert_array_equal(plans[-1].argmax(1), best)
    np.testing.assert_array_equal(of(coupling.Sinkhorn(0.001, 2000)), EPS[best])


def test_noise_is_drawn_from_the_rows_of_the_plan():
    rule, num = coupling.Sinkhorn(0.2, 200), 4000
    plan = np.exp(rule.log_plan(X[:5], EPS[:5]))
    keys = jax.random.split(jax.random.key(1), (num, 5))
    drawn = np.asarray(jax.jit(jax.vmap(lambda keys: rule(keys, X[:5], EPS[:5])))(keys))
    shares = (drawn[:, :, None] == np.asarray(EPS)[None, None, :5]).all(-1).mean(0)
    assert np.abs(shares - plan).max() < 4 * 0.5 / num**0.5


@pytest.mark.parametrize("rule", [coupling.Exact(), coupling.Sinkhorn(0.02, 100)])
def test_coupled_paths_of_two_moons_cross_less(rule):
    """The velocities of two paths that meet at t = 1/2 differ less than half as much as those of independent pairs."""
    moons = data.toy.load("two_moons", num_points=1024).examples
    noise = np.random.default_rng(1).normal(size=moons.shape).astype(np.float32)
    coupled = jax.jit(rule)
    batches = [
        np.asarray(coupled(jax.random.split(jax.random.key(i), 256), *map(jnp.asarray, (moons[rows], noise[rows]))))
        for i, rows in enumerate(np.split(np.arange(1024), 4))
    ]

    def crossing(eps):
        middle, velocity = (moons + eps) / 2, eps - moons
        distance = ((middle[:, None] - middle[None]) ** 2).sum(-1) + 1e3 * np.eye(len(middle))
        return ((velocity - velocity[distance.argmin(1)]) ** 2).sum(-1).mean()

    assert crossing(np.concatenate(batches)) < 0.5 * crossing(noise)


def test_numbers_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"regularization > 0 and num_iterations >= 1, got 0.0 and 100"):
        coupling.Sinkhorn(0.0)


def config_of(**overrides):
    config = settings.default()
    config.data = settings.choice("tests.told:points")
    config.model = settings.choice("tests.tiny:Network")
    config.schedule, config.parameterization = settings.choice("flow"), settings.choice("flow")
    config.conditions = {"label": {"drop": 0.0}}
    config.train.batch_size = 12
    return resolve.resolve(resolve.override(config, [(key, str(value)) for key, value in overrides.items()]))


def batch_and_program(**overrides):
    config = config_of(**overrides)
    examples = build_data.dataset(config, "train")
    model = Model.build(config, DataDescription.of(config, examples))
    program = Program.build(model, examples, build_training.mesh(config, jax.devices()[:1]))
    return config, examples, program


def test_a_step_couples_the_whole_batch_whatever_its_parts():
    metrics = []
    for accumulate in (1, 3):
        config, examples, program = batch_and_program(**{"train.coupling": "exact", "train.accumulate": accumulate})
        with jax.numpy_dtype_promotion("standard"):
            _, step = program.step(program.init_state(), next(build_data.batches(config, examples, 0)))
        metrics.append([float(step["loss"]), float(step["grad_norm"])])
    np.testing.assert_allclose(metrics[0], metrics[1], rtol=1e-5)


@pytest.mark.parametrize("name", ["exact", "sinkhorn"])
def test_the_noise_of_a_batch_is_drawn_by_its_keys_and_coupled_within_its_classes(name):
    config = config_of(**{"train.coupling": name, "data.on_device": False})
    examples = build_data.dataset(config, "train")
    raw, preprocess = next(build_data.batches(config, examples, 0)), jax.jit(build_data.preprocess(config, examples))
    made, again, other = (preprocess(raw, keys) for keys in (KEYS[:12], KEYS[:12], KEYS[12:]))
    np.testing.assert_array_equal(made["eps"], again["eps"])
    assert not np.isin(np.asarray(other["eps"]), np.asarray(made["eps"])).any()
    x, eps, label = (np.asarray(made[key]) for key in ("x", "eps", "label"))
    if name == "exact":
        cost = ((x[:, None] - eps[None]) ** 2).sum(-1)
        for rows in (np.flatnonzero(label == value) for value in np.unique(label)):
            assert optimize.linear_sum_assignment(cost[np.ix_(rows, rows)])[1].tolist() == list(range(len(rows)))


def test_what_a_coupling_would_break_is_refused_in_one_line(monkeypatch):
    for overrides, said in (
        ({"conditions.place": "vector"}, r"exchanges noise within a class, and the condition 'place' is no class"),
        (
            {"loss.stable_targets": True},
            r"loss.stable_targets is the target of independent pairs, which train.coupling",
        ),
    ):
        config = config_of(**{"train.coupling": "sinkhorn"} | overrides)
        examples = build_data.dataset(config, "train")
        with pytest.raises(ValueError, match=said):
            build_data.preprocess(config, examples)
    several = type("Mesh", (), {"size": 4})()
    monkeypatch.setattr("diffax.sharding.make_mesh", lambda *args, **options: several)
    with pytest.raises(ValueError, match=r"on the host of one device, and there are 4: use sinkhorn"):
        build_training.mesh(config_of(**{"train.coupling": "exact"}))
