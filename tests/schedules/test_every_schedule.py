"""What holds for every schedule: ends, monotony, inverses, derivatives, types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import schedules
from tests.cases import (
    DISCRETE,
    ENDS,
    EPS,
    INNER,
    SCHEDULES,
    TIMES,
    change_over_one_ulp,
    evaluate,
    in_float32,
)

NAMES = sorted(SCHEDULES)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_infinite_or_negative_up_to_the_ends(name):
    schedule, t = SCHEDULES[name], TIMES.astype(np.float64)
    log_snr = schedule.log_snr(t)
    with np.errstate(all="raise"):
        in_float64 = schedule.alpha(t), schedule.sigma(t), log_snr, schedule.t_of_log_snr(log_snr)
    for values in (in_float64, in_float32(name)):
        assert np.isfinite(values).all()
        assert np.all(values[0] >= 0) and np.all(values[1] >= 0)
        assert np.all(np.abs(values[2]) <= schedules.LOG_SNR_LIMIT)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"variance_exploding", "edm", "learned"}))
def test_time_0_is_data_exactly(name):
    assert SCHEDULES[name].alpha(0.0) == 1
    assert SCHEDULES[name].sigma(0.0) == 0
    alpha, sigma, *_ = in_float32(name)
    assert alpha[0] == 1
    assert sigma[0] == 0


@pytest.mark.parametrize("name", ["cosine", "sigmoid", "steep_sigmoid", "flow", "zero_terminal_snr"])
def test_time_1_is_noise_exactly_and_not_before(name):
    assert SCHEDULES[name].alpha(1.0) == 0
    assert SCHEDULES[name].sigma(1.0) == pytest.approx(1, abs=1e-15)
    alpha, sigma, *_ = in_float32(name)
    before, at = np.flatnonzero(TIMES > 0.99999991)
    assert alpha[at] == 0 and sigma[at] == pytest.approx(1, abs=2 * EPS)
    assert alpha[before] > 0


@pytest.mark.parametrize("name", NAMES)
def test_log_snr_decreases(name):
    assert np.all(np.diff(SCHEDULES[name].log_snr(np.linspace(0, 1, 2001))) < 0)
    order = np.argsort(TIMES)
    # Float32s that differ by an ulp may have one log_snr.
    assert np.all(np.diff(in_float32(name)[2][order]) <= 0)
    assert np.all(np.diff(in_float32(name)[2][order][::8]) < 0)


@pytest.mark.parametrize("name", NAMES)
def test_log_snr_is_that_of_alpha_and_sigma(name):
    t = np.linspace(0.001, 0.999, 333)
    ratio = SCHEDULES[name].alpha(t) / SCHEDULES[name].sigma(t)
    np.testing.assert_allclose(SCHEDULES[name].log_snr(t), 2 * np.log(ratio), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_t_of_log_snr_inverts_log_snr(name):
    schedule = SCHEDULES[name]
    t = np.linspace(1e-4, 1 - 1e-4, 401)
    np.testing.assert_allclose(schedule.t_of_log_snr(schedule.log_snr(t)), t, rtol=0, atol=1e-11)

    slope = change_over_one_ulp(schedule.log_snr, INNER) / (np.nextafter(INNER, np.float32(2)) - INNER) / 2
    size = np.maximum(1, np.abs(schedule.log_snr(INNER.astype(np.float64))))
    # log_snr's own error over its slope, and a few roundings of a number of about 1.
    tolerance = 8 * EPS * size / slope + 4 * EPS
    assert np.all(np.abs(in_float32(name)[3][np.isin(TIMES, INNER)] - INNER) <= tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_log_snr_inverts_t_of_log_snr(name):
    schedule = SCHEDULES[name]
    log_snr = schedule.log_snr(np.linspace(0.99, 0.01, 201))
    np.testing.assert_allclose(schedule.log_snr(schedule.t_of_log_snr(log_snr)), log_snr, rtol=0, atol=1e-10)
    _, _, there, t = in_float32(name)
    again = np.asarray(evaluate(schedule, jnp.asarray(t))[2])
    inner = (TIMES > 9e-6) & (TIMES < 1 - 9e-6)
    # t_of_log_snr's few ulp of t (of Shifted's base time as well), magnified by the slope there.
    tolerance = 8 * EPS * np.maximum(1, np.abs(there)) + 6 * change_over_one_ulp(schedule.log_snr, TIMES)
    assert np.all(np.abs(again - there)[inner] <= tolerance[inner])


@pytest.mark.parametrize("name", NAMES)
def test_any_log_snr_has_a_finite_time(name):
    with np.errstate(all="raise"):
        t = SCHEDULES[name].t_of_log_snr(np.linspace(-80, 80, 41))
    assert np.isfinite(t).all() and np.all(np.diff(t) <= 0)
    t = np.asarray(
        jax.jit(lambda schedule, log_snr: schedule.t_of_log_snr(log_snr))(SCHEDULES[name], np.float32([-80, 80]))
    )
    assert np.isfinite(t).all()


def everything(schedule, t):
    return schedule.alpha(t) + schedule.sigma(t) + schedule.log_snr(t)


derivative = jax.jit(jax.vmap(jax.grad(everything, argnums=1), in_axes=(None, 0)))


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_in_t_are_those_of_differences_and_finite_at_the_ends(name):
    schedule, t, h = SCHEDULES[name], np.linspace(0.1005, 0.9005, 9), 1e-6
    computed = np.asarray(derivative(schedule, jnp.asarray([*ENDS, *t], jnp.float32)))
    assert np.isfinite(computed).all()
    difference = (everything(schedule, t + h) - everything(schedule, t - h)) / (2 * h)
    np.testing.assert_allclose(computed[len(ENDS) :], difference, rtol=2e-4)


@pytest.mark.parametrize(
    "name", ["linear_beta", "sigmoid", "edm", "sub_vp", "learned", "shifted_flow", "shifted_cosine"]
)
def test_derivatives_in_parameters_are_those_of_differences_and_finite_at_the_ends(name):
    leaves, structure = jax.tree.flatten(SCHEDULES[name])

    def of_leaves(leaves, t):
        return everything(jax.tree.unflatten(structure, leaves), t)

    t = np.array([0.3, 0.7, *ENDS])
    gradients = jax.jit(jax.vmap(jax.grad(of_leaves), in_axes=(None, 0)))(leaves, t.astype(np.float32))
    for k, gradient in enumerate(gradients):
        assert np.isfinite(gradient).all()
        h = 1e-6
        up, down = ([leaf + sign * h * (i == k) for i, leaf in enumerate(leaves)] for sign in (1, -1))
        difference = (of_leaves(up, t[:2]) - of_leaves(down, t[:2])) / (2 * h)
        # All numbers of a leaf are moved together.
        along = np.asarray(gradient, float).reshape(len(t), -1).sum(1)
        np.testing.assert_allclose(along[:2], difference, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_type_given_is_the_type_returned(name):
    schedule = SCHEDULES[name]
    for function in (schedule.alpha, schedule.sigma, schedule.log_snr, schedule.t_of_log_snr):
        assert np.asarray(function(0.25)).dtype == np.float64
        assert function(np.float32([0.25])).dtype == np.float32
        assert isinstance(function(np.full((2, 3), 0.25)), np.ndarray)
        assert function(np.full((2, 3), 0.25)).shape == (2, 3)
    for shape in ((), (2, 3)):
        for value in jax.eval_shape(evaluate, schedule, jax.ShapeDtypeStruct(shape, jnp.float32)):
            assert value.shape == shape and value.dtype == jnp.float32


@pytest.mark.parametrize("name", ["cosine", "linear", "shifted_linear_beta"])
def test_without_jit_the_same_numbers_come_out(name):
    schedule, t = SCHEDULES[name], jnp.asarray(TIMES)
    for function, compiled in zip((schedule.alpha, schedule.sigma), in_float32(name), strict=False):
        assert isinstance(function(t), jax.Array)
        np.testing.assert_allclose(function(t), compiled, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["cosine", "linear_beta", "sigmoid", "edm", "sub_vp", "flow", "linear", "learned"])
def test_in_x64_mode_float32_stays_float32_and_float64_is_float64(name, x64):
    schedule, t = SCHEDULES[name], np.linspace(0.01, 0.99, 7)
    assert all(value.dtype == jnp.float32 for value in jax.eval_shape(evaluate, schedule, jnp.asarray(t, jnp.float32)))
    for computed, function in zip(evaluate(schedule, t), (schedule.alpha, schedule.sigma), strict=False):
        np.testing.assert_allclose(computed, function(t), rtol=1e-13)


def test_a_schedule_is_an_argument_of_jit_and_other_numbers_do_not_retrace():
    traces = []

    @jax.jit
    def log_snr(schedule, t):
        traces.append(type(schedule))
        return schedule.log_snr(t)

    for beta_max in (10.0, 20.0):
        schedule = schedules.LinearBeta(0.1, beta_max)
        np.testing.assert_allclose(log_snr(schedule, jnp.float32(0.5)), schedule.log_snr(0.5), rtol=1e-5)
    for schedule in DISCRETE.values():
        np.testing.assert_allclose(log_snr(schedule, jnp.float32(0.5)), schedule.log_snr(0.5), rtol=1e-5)
    assert traces == [schedules.LinearBeta, schedules.Discrete]


def test_parameters_may_carry_an_axis():
    sigma_max = jnp.array([10.0, 50.0, 80.0])
    sigma = jax.vmap(lambda schedule: schedule.sigma(jnp.float32(1)), in_axes=(schedules.VarianceExploding(None, 0),))
    np.testing.assert_allclose(sigma(schedules.VarianceExploding(0.01, sigma_max)), sigma_max, rtol=1e-6)


def test_an_integer_is_a_time():
    assert schedules.Cosine().sigma(1) == 1.0
    assert schedules.Flow().alpha(np.int64(1)) == 0.0
