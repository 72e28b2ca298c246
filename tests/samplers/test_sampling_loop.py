"""The loop against the definition of a table, row by row, in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import arrays, denoisers, samplers, schedules
from diffax.samplers.table import make_table
from diffax.typing import Prediction
from tests.samplers import definition

FLOW = schedules.Flow()
KEYS = jax.random.split(jax.random.key(0), 64)
RNG = np.random.default_rng(0)
START = RNG.normal(size=(64, 3)).astype(np.float32)
run = jax.jit(samplers.run, static_argnames=("save_every", "denoiser"))
traced_run = jax.jit(samplers.run, static_argnames="save_every")


def halves(x, t):
    """A denoiser that depends on everything, for NumPy and JAX alike."""
    xp = arrays.namespace(x)
    return xp.cos(x) + t, xp.sin(2 * x) - t


def denoiser(x, t):
    return Prediction(*halves(x, t))


def noise_of(rows, keys=KEYS, shape=(3,)):
    """The noise of every row: what a table shows that puts out nothing else."""
    table = make_table("noise", FLOW, np.linspace(1, 0.1, rows), c=np.ones(rows))
    _, noise = run(keys, denoiser, table, jnp.zeros((len(keys), *shape)), save_every=1)
    return np.asarray(noise, np.float64)


by_the_definition = functools.partial(definition.by_the_definition, halves)


def random_columns(rows, depth, names="abecpqrd"):
    """Small enough that states stay of size one, with zeros inside."""
    rng = np.random.default_rng(1)
    columns = {name: rng.uniform(-0.5, 0.5, (rows, depth) if name in "bqer" else rows) for name in names}
    for column in columns.values():
        column[rng.uniform(size=column.shape) < 0.2] = 0
    return columns


@pytest.mark.parametrize(
    ("names", "with_push"),
    [
        ("abecpqrd", True),
        ("abec", False),
        ("be", True),
        ("ae", False),
        ("bpr", False),
        ("aeqd", False),
    ],
)
def test_a_table_does_what_its_definition_says(names, with_push):
    rows, times = 12, RNG.uniform(0.1, 1, 12)
    columns = random_columns(rows, 3, names)
    push = RNG.uniform(size=rows) < 0.6 if with_push else None
    table = make_table("random", FLOW, times, push=push, **columns)
    assert all((getattr(table, name) is not None) == (name in names) for name in "abecqrd")
    keys = KEYS if table.is_stochastic else None
    result, states = run(keys, denoiser, table, jnp.asarray(START), save_every=1)
    expected = by_the_definition(columns, times, START, noise_of(rows), push=push)
    # Twelve rows of float32 whose derivatives are about one.
    np.testing.assert_allclose(states, expected, atol=1e-5)
    np.testing.assert_array_equal(result, states[-1])


def test_histories_of_different_depth_and_zero_columns_change_nothing():
    rows, times = 6, np.linspace(1, 0.2, 6)
    columns = random_columns(rows, 2, "abe")
    columns["e"] = columns["e"][:, :1]
    padded = columns | {"b": np.pad(columns["b"], ((0, 0), (0, 3))), "r": np.zeros((6, 4)), "d": np.zeros(6)}
    plain, wide = (make_table("table", FLOW, times, **part) for part in (columns, padded))
    assert jax.tree.structure(plain) == jax.tree.structure(wide)
    np.testing.assert_array_equal(run(None, denoiser, plain, START), run(None, denoiser, wide, START))
    np.testing.assert_allclose(
        run(None, denoiser, plain, START), by_the_definition(columns, times, START, np.zeros(6))[-1], atol=1e-5
    )


def test_a_history_starts_empty_at_every_run():
    table = make_table("two", FLOW, [1.0, 0.5], b=[[0.5, 7.0], [0.5, 0.25]])
    for _ in range(2):
        expected = by_the_definition({"b": np.array([[0.5, 7.0], [0.5, 0.25]])}, [1.0, 0.5], START, np.zeros(2))
        np.testing.assert_allclose(run(None, denoiser, table, START), expected[-1], atol=1e-6)


def test_the_denoiser_is_asked_once_a_row_at_the_row_s_time():
    asked = []

    def recording(x, t):
        jax.debug.callback(lambda t: asked.append(float(t)), t, ordered=True)
        return denoiser(x, t)

    times = [1.0, 0.5, 0.5, 0.75]
    samplers.run(None, recording, make_table("four", FLOW, times, b=np.ones(4)), jnp.asarray(START))
    jax.effects_barrier()
    assert asked == times


def test_initial_noise_comes_before_row_0():
    columns = {"a": np.ones(2), "b": np.full((2, 1), 0.1)}
    noisy = make_table("noisy", FLOW, [1.0, 0.5], initial_noise=0.5, **columns)
    shown = make_table("shown", FLOW, [1.0], a=np.ones(1), initial_noise=1.0)
    noise = np.asarray(run(KEYS, denoiser, shown, jnp.zeros_like(START)))
    expected = by_the_definition(columns, [1.0, 0.5], START + 0.5 * noise, np.zeros(2))
    np.testing.assert_allclose(run(KEYS, denoiser, noisy, START), expected[-1], atol=1e-6)


def test_every_noise_is_standard_normal_and_independent_of_the_others():
    keys = jax.random.split(jax.random.key(1), 2000)
    prior = samplers.prior(keys, make_table("prior", FLOW, [1.0], b=np.ones(1)), (2,))
    shown = make_table("shown", FLOW, [1.0], a=np.ones(1), initial_noise=1.0)
    initial = run(keys, denoiser, shown, jnp.zeros((2000, 2)))
    draws = np.concatenate([np.asarray(prior), np.asarray(initial), *noise_of(4, keys, (2,))], axis=1)
    # Five standard errors of twelve columns and of their products.
    assert np.abs(draws.mean(0)).max() < 5 / np.sqrt(2000)
    assert np.abs(draws.T @ draws / 2000 - np.eye(12)).max() < 5 * np.sqrt(2 / 2000)


def test_the_prior_has_the_table_s_width():
    table = make_table("edm", schedules.VarianceExploding(0.002, 80.0), [1.0], b=np.ones(1))
    draws = np.asarray(samplers.prior(KEYS, table, (500,)))
    assert draws.shape == (64, 500) and draws.dtype == np.float32
    assert draws.std() == pytest.approx(80, rel=5 / np.sqrt(2 * draws.size))


ALL = make_table("all", FLOW, np.linspace(1, 0.1, 10), **random_columns(10, 2))


@pytest.mark.parametrize("batch", [1, 7])
def test_a_sample_does_not_know_its_batch(batch):
    together = run(KEYS, denoiser, ALL, START)
    alone = run(KEYS[5 : 5 + batch], denoiser, ALL, START[5 : 5 + batch])
    np.testing.assert_array_equal(alone, together[5 : 5 + batch])


@pytest.mark.parametrize("batch", [1, 7])
def test_a_sample_of_a_mixture_does_not_know_its_batch(batch):
    # A product of matrices may sum in another order for another batch.
    oracle = denoisers.gaussian_mixture(schedules.Cosine(), [0.4, 0.6], [[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0]], [0.3, 0.5])
    table, sample = samplers.ddim(schedules.Cosine(), samplers.grids.uniform(10), eta=0.5), jax.jit(samplers.run)
    together = sample(KEYS, oracle, table, START)
    alone = sample(KEYS[5 : 5 + batch], oracle, table, START[5 : 5 + batch])
    np.testing.assert_allclose(alone, together[5 : 5 + batch], atol=1e-5)


@pytest.mark.parametrize("save_every", [3, 10, 99])
def test_saved_states_are_those_after_every_so_many_rows_and_the_last(save_every):
    result, saved = run(KEYS, denoiser, ALL, START, save_every=save_every)
    _, states = run(KEYS, denoiser, ALL, START, save_every=1)
    after = sorted({*range(save_every, 10, save_every), 10})
    assert saved.shape == (len(after), *START.shape)
    np.testing.assert_allclose(saved, states[np.array(after) - 1], atol=1e-6)
    np.testing.assert_allclose(result, run(KEYS, denoiser, ALL, START), atol=1e-6)


def test_jit_gives_what_eager_gives():
    eager = samplers.run(KEYS, denoiser, ALL, jnp.asarray(START))
    np.testing.assert_allclose(run(KEYS, denoiser, ALL, START), eager, atol=1e-5)


def test_other_numbers_in_a_table_do_not_retrace():
    traces = []

    @jax.jit
    def sample(keys, oracle, table, x):
        traces.append(1)
        return samplers.run(keys, oracle, table, x)

    for schedule, mean in ((schedules.LinearBeta(), 1.0), (schedules.LinearBeta(0.2, 10.0), 2.0)):
        table = samplers.ddim(schedule, samplers.grids.uniform(5), eta=0.5)
        oracle = denoisers.gaussian_mixture(schedule, [1.0], [[mean] * 3], [0.1])
        drawn = sample(KEYS, oracle, table, START)
        # Five steps of a narrow Gaussian end near its mean.
        np.testing.assert_allclose(drawn.mean(0), mean, atol=0.2)
    assert len(traces) == 1


def test_memory_does_not_grow_with_steps_unless_states_are_asked_for():
    x = jnp.zeros((64, 16, 16, 3))
    oracle = denoisers.empirical(FLOW, jnp.zeros((2, 16, 16, 3)))

    def megabytes(rows, save_every=None):
        table = samplers.sa_solver(FLOW, samplers.grids.log_snr(FLOW, rows, start=0.98, end=0.02))
        compiled = traced_run.lower(KEYS, oracle, table, x, save_every=save_every).compile().memory_analysis()
        return (compiled.temp_size_in_bytes + compiled.output_size_in_bytes) / x.nbytes

    assert abs(megabytes(500) - megabytes(20)) < 1  # not one state more
    assert megabytes(500, save_every=10) - megabytes(500) > 49


def test_a_table_can_be_learned_and_swept():
    table = samplers.ddim(FLOW, samplers.grids.uniform(4))
    gradient = jax.grad(lambda table: samplers.run(None, denoiser, table, jnp.asarray(START)).sum())(
        jax.tree.map(jnp.float32, table)
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    # b of the last row weighs the last x_0.
    _, states = run(None, denoiser, table, START, save_every=1)
    assert gradient.e[-1, 0] == pytest.approx(np.sum(halves(np.asarray(states[-2], float), 0.25)[1]), rel=1e-3)

    scaled = jax.tree.map(lambda leaf: jnp.stack([jnp.float32(leaf), jnp.float32(2 * leaf)]), table)
    results = jax.vmap(lambda table: samplers.run(None, denoiser, table, jnp.asarray(START)))(scaled)
    np.testing.assert_allclose(results[0], run(None, denoiser, table, START), atol=1e-6)


def test_in_float64_everything_is_float64(x64):
    columns = random_columns(12, 2, "abe")
    times = np.linspace(1, 0.1, 12)
    table = make_table("table", FLOW, times, **columns)
    result = samplers.run(None, denoiser, table, jnp.asarray(START.astype(float)))
    assert result.dtype == jnp.float64
    np.testing.assert_allclose(
        result, by_the_definition(columns, times, START, np.zeros(12))[-1], rtol=1e-12, atol=1e-13
    )


def test_arguments_in_another_order_are_refused():
    with pytest.raises(TypeError):
        samplers.run(ALL, denoiser, jnp.asarray(START), KEYS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": None}, "all is stochastic: give keys, one per sample"),
        ({"keys": KEYS[:3]}, r"expected one key per sample, shape \(64,\), got keys of shape \(3,\)"),
        ({"keys": jax.random.key(0)}, r"got keys of shape \(\)"),
        ({"keys": KEYS, "save_every": 0}, "save_every must be >= 1, got 0"),
    ],
)
def test_what_cannot_be_run_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        samplers.run(denoiser=denoiser, table=ALL, x=jnp.asarray(START), **options)
