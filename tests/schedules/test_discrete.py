"""DDPM's tables of betas, against float64 NumPy and the values that diffusers 0.42 prints for the same settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.schedules import Discrete
from tests.cases import DISCRETE

EPS = float(np.finfo(np.float32).eps)


def cosine_betas(num_steps):
    """iDDPM's betas_for_alpha_bar as its repository has it, one step at a time."""
    alpha_bar = [np.cos((i / num_steps + 0.008) / 1.008 * np.pi / 2) ** 2 for i in range(num_steps + 1)]
    return np.array([min(1 - alpha_bar[i + 1] / alpha_bar[i], 0.999) for i in range(num_steps)])


def rescaled(betas):
    """arXiv:2305.08891, algorithm 1, line by line."""
    alphas_bar_sqrt = np.sqrt(np.cumprod(1 - betas))
    first, last = alphas_bar_sqrt[0].copy(), alphas_bar_sqrt[-1].copy()
    alphas_bar_sqrt -= last
    alphas_bar_sqrt *= first / (first - last)
    alphas_bar = alphas_bar_sqrt**2
    return 1 - np.concatenate([alphas_bar[:1], alphas_bar[1:] / alphas_bar[:-1]])


TABLES = {
    "linear": np.array([1e-4 + i * (0.02 - 1e-4) / 999 for i in range(1000)]),
    "scaled_linear": np.array([(0.00085**0.5 + i * (0.012**0.5 - 0.00085**0.5) / 999) ** 2 for i in range(1000)]),
    "cosine_betas": cosine_betas(1000),
    "sigmoid_betas": np.array([1e-4 + (0.02 - 1e-4) / (1 + np.exp(6 - 12 * i / 999)) for i in range(1000)]),
}
TABLES["zero_terminal_snr"] = rescaled(TABLES["scaled_linear"])


@pytest.mark.parametrize("name", TABLES)
def test_betas_are_the_papers(name):
    np.testing.assert_allclose(DISCRETE[name].betas, TABLES[name], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("name", "terminal"), [("linear", 4.0358e-05), ("scaled_linear", 4.6602e-03)])
def test_the_last_alpha_bar_is_the_published_number(name, terminal):
    assert DISCRETE[name].alpha(1.0) ** 2 == pytest.approx(terminal, rel=1e-4)


@pytest.mark.parametrize("name", TABLES)
def test_at_its_steps_alpha_and_sigma_are_the_cumulative_product(name):
    alpha_bar = np.cumprod(1 - TABLES[name])
    t = np.arange(1, 1001) / 1000
    schedule = DISCRETE[name]
    # sigma^2 is a difference from 1 in the test alone: 1e-16 of 1e-4.
    np.testing.assert_allclose(schedule.alpha(t), np.sqrt(alpha_bar), rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(schedule.sigma(t), np.sqrt(1 - alpha_bar), rtol=1e-11)

    alpha, sigma = jax.jit(lambda schedule, t: (schedule.alpha(t), schedule.sigma(t)))(schedule, t.astype(np.float32))
    # At the steps themselves t's rounding does not count: one ulp of the table and one of the normalisation.
    np.testing.assert_allclose(alpha, np.sqrt(alpha_bar), rtol=2 * EPS, atol=1e-15)
    np.testing.assert_allclose(sigma, np.sqrt(1 - alpha_bar), rtol=2 * EPS)


@pytest.mark.parametrize("num_steps", [49, 1000, 4000])
def test_in_float32_a_step_s_time_reads_that_step_itself(num_steps):
    """Although (i + 1) / T times T is often not i + 1 in float32."""
    schedule = Discrete.linear(num_steps)
    t = (np.arange(1, num_steps + 1) / num_steps).astype(np.float32)
    exact = np.log(np.cumprod(1 - schedule.betas)) - np.log(1 - np.cumprod(1 - schedule.betas))
    np.testing.assert_allclose(jax.jit(schedule.log_snr)(t[1:]), exact[1:], rtol=EPS / 2, atol=1e-12)


def test_between_steps_log_snr_is_a_straight_line():
    schedule = DISCRETE["linear"]
    steps = schedule.log_snr(np.arange(1, 1001) / 1000)
    between = schedule.log_snr((np.arange(1, 1000) + 0.25) / 1000)
    np.testing.assert_allclose(between, 0.75 * steps[:-1] + 0.25 * steps[1:], rtol=1e-10)


def test_before_the_first_step_alpha_and_sigma_are_on_the_chord():
    schedule, t = DISCRETE["linear"], np.linspace(1e-5, 1e-3, 50)
    ratio = 1000 * t * np.sqrt(1e-4) / (1 - 1000 * t + 1000 * t * np.sqrt(1 - 1e-4))
    np.testing.assert_allclose(schedule.sigma(t) / schedule.alpha(t), ratio, rtol=1e-10)
    np.testing.assert_allclose(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, 1, rtol=1e-14)


@pytest.mark.parametrize("name", TABLES)
def test_at_its_steps_the_slope_of_log_snr_is_that_of_the_interval_before(name):
    # Where DDPM trains; a clip or a tie would halve it.
    knots = np.arange(2, 900, 37)
    schedule = DISCRETE[name]
    slope = jax.jit(jax.vmap(jax.grad(schedule.log_snr)))(jnp.asarray(knots / 1000, jnp.float32))
    difference = 1000 * (schedule.log_snr(knots / 1000) - schedule.log_snr((knots - 1) / 1000))
    # Differences of a float32 table of size 10: 1e-6 of at least 3e-3.
    np.testing.assert_allclose(slope, difference, rtol=1e-3)


@pytest.mark.parametrize("num_steps", [1, 3, 10, 49, 1000, 4000])
def test_index_of_a_step_is_its_number_in_any_precision(num_steps):
    schedule, index = Discrete(np.full(num_steps, 0.01)), np.arange(num_steps)
    for t in ((index + 1) / num_steps, ((index + 1) / num_steps).astype(np.float32)):
        np.testing.assert_array_equal(schedule.index_of(t), index)
    assert schedule.index_of(0.0) == 0
    in_float32 = jax.jit(schedule.index_of)(((index + 1) / num_steps).astype(np.float32))
    np.testing.assert_array_equal(in_float32, index)


def test_a_beta_of_0_changes_nothing_and_a_beta_of_1_leaves_noise():
    schedule = Discrete([0.0, 0.5, 0.0, 0.0, 1.0, 0.3])
    t = np.arange(7) / 6
    np.testing.assert_allclose(schedule.alpha(t) ** 2, [1, 1, 0.5, 0.5, 0.5, 0, 0], atol=1e-15)
    np.testing.assert_allclose(schedule.sigma(t) ** 2, [0, 0, 0.5, 0.5, 0.5, 1, 1], atol=1e-15)
    # The first time on a plateau.
    assert schedule.t_of_log_snr(0.0) == pytest.approx(2 / 6)

    def values_at(t):
        return schedule.alpha(t), schedule.sigma(t), schedule.log_snr(t)

    times = np.linspace(0, 1, 61, dtype=np.float32)
    values, slopes = jax.jit(lambda t: jax.jvp(values_at, (t,), (jnp.ones_like(t),)))(times)
    for alpha, sigma, log_snr in (values_at(times.astype(np.float64)), np.asarray(values)):
        np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-6)
        assert np.all(np.diff(log_snr) <= 1e-6)
    assert np.isfinite(slopes).all()


def test_a_single_step_is_a_schedule():
    schedule = Discrete([0.3])
    assert schedule.alpha(1.0) ** 2 == pytest.approx(0.7)
    assert schedule.t_of_log_snr(schedule.log_snr(0.4)) == pytest.approx(0.4)
    assert Discrete.linear(1).betas[0] == 1e-4
    assert np.isfinite(Discrete([1.0]).log_snr(np.linspace(0, 1, 11))).all()


def test_t_of_log_snr_is_at_an_end_beyond_it():
    schedule = DISCRETE["scaled_linear"]
    assert schedule.t_of_log_snr(schedule.log_snr(1.0) - 5) == 1
    assert schedule.t_of_log_snr(80.0) == pytest.approx(0, abs=1e-15)


def test_zero_terminal_snr_keeps_the_first_step_and_ends_at_noise():
    schedule = Discrete.linear(100, 0.001, 0.1)
    rescaled = schedule.zero_terminal_snr()
    assert rescaled.betas[0] == pytest.approx(schedule.betas[0], rel=1e-12)
    assert rescaled.betas[-1] == 1
    assert rescaled.alpha(1.0) == 0


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "cosine", "sigmoid"])
def test_zero_terminal_snr_is_an_option_of_every_constructor(name):
    build = getattr(Discrete, name)
    rescaled = build(50, zero_terminal_snr=True)
    assert rescaled.alpha(1.0) == 0 and rescaled.betas[-1] == 1
    np.testing.assert_array_equal(rescaled.betas, build(50).zero_terminal_snr().betas)
    assert build(50).alpha(1.0) > 0
    # arXiv:2305.08891, algorithm 1, on sqrt(alpha_bar) of the steps.
    roots = np.sqrt(np.cumprod(1 - build(50).betas))
    expected = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    np.testing.assert_allclose(rescaled.alpha(np.arange(1, 51) / 50), expected, rtol=1e-9, atol=1e-12)


def test_a_table_too_steep_for_float32_stays_finite():
    schedule = Discrete(np.full(2000, 0.2))
    alpha, log_snr = jax.jit(lambda t: (schedule.alpha(t), schedule.log_snr(t)))(jnp.linspace(0, 1, 201))
    assert np.isfinite(alpha).all() and np.all(np.abs(log_snr) <= 80)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Discrete([]), "at least one number, got shape"),
        (lambda: Discrete(np.zeros((2, 2))), "must be a vector"),
        (lambda: Discrete([0.1, 1.5]), r"must lie in \[0, 1\], got 0.1 to 1.5"),
        (lambda: Discrete([-0.1, 0.5]), r"must lie in \[0, 1\]"),
        (lambda: Discrete([0.1, float("nan")]), r"must lie in \[0, 1\]"),
        (lambda: Discrete([0.0, 0.0]), "adds no noise"),
        (lambda: Discrete.linear(0), "num_steps must be >= 1, got 0"),
        (lambda: Discrete.cosine(-1), "num_steps must be >= 1, got -1"),
        (lambda: Discrete([0.3]).zero_terminal_snr(), "alpha to fall"),
    ],
)
def test_betas_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
