"""Densities of training time: their draws against closed forms, their densities against quadrature."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import schedules
from diffax.processes import time_sampling as ts
from tests.cases import SCHEDULES

NUM = 20_000
KEYS = jax.random.split(jax.random.key(3), NUM)


def normal_cdf(x):
    return 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def normal_quantile(u):
    """The inverse of normal_cdf by bisection."""
    low, high = np.full_like(u, -10.0), np.full_like(u, 10.0)
    for _ in range(60):
        middle = (low + high) / 2
        below = normal_cdf(middle) < u
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


def logit(t):
    return np.log(t / (1 - t))


# Density, schedule, distribution function of t by the papers.
CASES = {
    "uniform": (ts.Uniform(), schedules.Cosine(), lambda t: t),
    "uniform_part": (ts.Uniform(1e-3, 0.9), schedules.Flow(), lambda t: (t - 1e-3) / (0.9 - 1e-3)),
    "logit_normal": (ts.LogitNormal(), schedules.Flow(), lambda t: normal_cdf(logit(t))),
    "logit_normal_late": (ts.LogitNormal(0.5, 0.6), schedules.Cosine(), lambda t: normal_cdf((logit(t) - 0.5) / 0.6)),
    "edm": (
        ts.LogNormalSigma(),
        schedules.VarianceExploding(0.002, 80.0),
        lambda t: normal_cdf((np.log(0.002 * 40_000**t) + 1.2) / 1.2),
    ),
    "edm_on_flow": (
        ts.LogNormalSigma(0.3, 1.5),
        schedules.Flow(),
        lambda t: normal_cdf((np.log(t / (1 - t)) - 0.3) / 1.5),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_draws_follow_the_distribution(name):
    density, schedule, distribution = CASES[name]
    t = np.sort(np.asarray(jax.jit(density.sample)(KEYS, schedule), np.float64))
    assert t.dtype == np.float64 and t.min() >= 0 and t.max() <= 1
    steps = np.arange(NUM + 1) / NUM
    reached = distribution(np.clip(t, 1e-9, 1 - 1e-9))
    distance = max(np.abs(reached - steps[1:]).max(), np.abs(reached - steps[:-1]).max())
    # Kolmogorov and Smirnov: sqrt(n) times the distance is above 1.95 once in a thousand times.
    assert distance * math.sqrt(NUM) < 1.95


@pytest.mark.parametrize("name", CASES)
def test_quantile_inverts_the_distribution(name):
    density, schedule, distribution = CASES[name]
    u = np.linspace(0.001, 0.999, 333)
    t = np.asarray(density.quantile(schedule, jnp.asarray(u, jnp.float32)), np.float64)
    np.testing.assert_allclose(distribution(t), u, atol=2e-6)


def test_discrete_uniform_draws_every_step_equally_often():
    t = np.asarray(ts.DiscreteUniform(20).sample(KEYS, schedules.Discrete.linear(20)))
    step = np.round(t * 20).astype(int)
    np.testing.assert_allclose(t, step / 20, rtol=1e-7)
    counts = np.bincount(step, minlength=21)
    assert counts[0] == 0
    # Chi squared of 19 degrees of freedom is above 43.8 once in a thousand times.
    assert ((counts[1:] - NUM / 20) ** 2 / (NUM / 20)).sum() < 43.8


def test_discrete_uniform_reaches_the_first_and_the_last_step_and_none_beyond():
    u = jnp.array([0.0, 1 - 2.0**-23, 1.0])
    np.testing.assert_array_equal(ts.DiscreteUniform(1000).quantile(schedules.Flow(), u), np.float32([0.001, 1, 1]))


DENSITIES = {name: CASES[name][0] for name in ("uniform", "uniform_part", "logit_normal", "edm")}


@jax.jit
def integrals(schedule):
    """Midpoint rule over each density's range of log_snr, in equal steps of probability so that no tail is lost."""
    u = jnp.linspace(1e-4, 1 - 1e-4, 20_001)
    edges = {name: density.quantile(schedule, u) for name, density in DENSITIES.items()} | {"steps": u}
    densities = DENSITIES | {"steps": ts.DiscreteUniform(1000)}

    def integral(density, edges):
        log_density = density.log_density(schedule, (edges[1:] + edges[:-1]) / 2)
        return (jnp.exp(log_density) * -jnp.diff(schedule.log_snr(edges))).sum()

    return {name: integral(density, edges[name]) for name, density in densities.items()}


@pytest.mark.parametrize("schedule_name", ["cosine", "edm", "linear"])
def test_the_density_per_unit_of_log_snr_integrates_to_1(schedule_name, x64):
    # 2e-4 of the probability is outside; the rest is the rule's error, largest where a Discrete slope jumps.
    for name, value in integrals(SCHEDULES[schedule_name]).items():
        assert value == pytest.approx(1, abs=1e-3), name


def test_the_log_density_of_edm_s_log_normal_is_the_normal_s():
    schedule = schedules.VarianceExploding(0.002, 80.0)
    t = np.linspace(0.1, 0.9, 9)
    log_sigma = np.log(schedule.sigma(t))
    # log_snr = -2 log sigma has half the density of log sigma.
    expected = -((log_sigma + 1.2) ** 2) / (2 * 1.44) - math.log(1.2 * math.sqrt(2 * math.pi)) - math.log(2)
    np.testing.assert_allclose(
        ts.LogNormalSigma().log_density(schedule, jnp.asarray(t, jnp.float32)), expected, rtol=2e-5
    )


@jax.jit
def log_densities(schedule, t):
    return [density.log_density(schedule, t) for density in (*DENSITIES.values(), ts.DiscreteUniform(1000))]


@pytest.mark.parametrize("schedule_name", sorted(SCHEDULES))
def test_log_density_is_finite_from_end_to_end(schedule_name):
    t = jnp.array([0.0, 1e-7, 1e-3, 0.5, 1 - 6e-8, 1.0])
    assert np.isfinite(log_densities(SCHEDULES[schedule_name], t)).all()


@pytest.mark.parametrize("name", ["uniform", "logit_normal", "edm"])
@pytest.mark.parametrize("batch", [1, 64])
def test_stratified_draws_one_time_from_each_slice(name, batch):
    density, schedule, distribution = CASES[name]
    t = np.asarray(ts.Stratified(density).sample(KEYS[:batch], schedule), np.float64)
    slices = distribution(t) * batch
    # Sample i in slice i, but for float32's rounding of t.
    assert np.all(slices >= np.arange(batch) - 1e-4) and np.all(slices <= np.arange(batch) + 1 + 1e-4)


def test_stratified_draws_are_unbiased_within_their_slices():
    keys = jax.random.split(jax.random.key(5), (4000, 4))
    t = jax.jit(jax.vmap(lambda keys: ts.Stratified(ts.Uniform()).sample(keys, schedules.Flow())))(keys)
    # Uniform in a slice of 1/4: standard error of the mean 1 / (4 sqrt(12 n)).
    np.testing.assert_allclose(t.mean(0), [0.125, 0.375, 0.625, 0.875], atol=5 / (4 * math.sqrt(12 * 4000)))


def test_stratified_over_steps_draws_each_step_once():
    t = ts.Stratified(ts.DiscreteUniform(64)).sample(KEYS[:64], schedules.Discrete.linear(64))
    np.testing.assert_allclose(t, np.arange(1, 65) / 64)


def test_stratified_has_its_density_s_density():
    t = jnp.linspace(0.1, 0.9, 5)
    for density in (ts.Uniform(), ts.LogitNormal(0.2, 0.7)):
        expected = density.log_density(schedules.Cosine(), t)
        np.testing.assert_array_equal(ts.Stratified(density).log_density(schedules.Cosine(), t), expected)


@pytest.mark.parametrize("density", [ts.Uniform(), ts.LogitNormal(), ts.DiscreteUniform(10), ts.LogNormalSigma()])
def test_a_sample_depends_on_its_own_key_alone(density):
    schedule = schedules.Cosine()
    together = density.sample(KEYS[:8], schedule)
    np.testing.assert_array_equal(density.sample(KEYS[3:4], schedule), together[3:4])
    np.testing.assert_array_equal(density.sample(KEYS[7::-1], schedule), together[::-1])
    stratified = ts.Stratified(density)
    changed = KEYS[:8].at[0].set(KEYS[9])
    np.testing.assert_array_equal(stratified.sample(changed, schedule)[1:], stratified.sample(KEYS[:8], schedule)[1:])


def test_the_normal_quantile_is_finite_at_0():
    t = ts.LogitNormal().quantile(schedules.Flow(), jnp.array([0.0, 0.025, 0.5, 0.975, 1.0]))
    assert np.isfinite(t).all()
    np.testing.assert_allclose(logit(np.asarray(t[1:4], np.float64)), [-1.959964, 0, 1.959964], atol=1e-5)


def test_a_density_is_a_pytree_that_may_carry_an_axis():
    densities = ts.LogitNormal(jnp.array([-1.0, 0.0, 1.0]), 1.0)
    medians = jax.vmap(lambda d: d.quantile(schedules.Flow(), jnp.full(1, 0.5)), in_axes=(ts.LogitNormal(0, None),))
    np.testing.assert_allclose(medians(densities)[:, 0], 1 / (1 + np.exp([1.0, 0.0, -1.0])), rtol=1e-5)
