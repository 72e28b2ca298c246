"""Stochastic tables: their laws on Gaussian data in closed form, one Brownian path, noise put back, errors."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, samplers, schedules
from tests import checking
from tests.samplers.convergence import SCHEDULES

COSINE = schedules.Cosine()
MEAN, VARIANCE = np.array([0.7, -0.3]), np.array([0.04, 0.8])


def restart(schedule, times):
    part = samplers.Restart(float(times[len(times) // 2]), float(times[len(times) // 4]), len(times) // 4, 2)
    return samplers.restart(schedule, times, restarts=[part])


def sde(**options):
    return lambda schedule, times: samplers.dpm_solver_multistep(schedule, times, tau=1.0, **options)


# Each with the order to which its mean and covariance approach the exact ones.
METHODS = {
    "DDPM": (samplers.ddpm, 1),
    "DDIM(eta = 1/2)": (lambda schedule, times: samplers.ddim(schedule, times, eta=0.5), 1),
    "Euler ancestral": (samplers.euler_ancestral, 1),
    "Euler-Maruyama": (samplers.euler_maruyama, 1),
    "SDE 2M midpoint": (sde(), 2),
    "SDE 2M exact": (sde(weights="exact"), 2),
    "SDE 2M in eps": (sde(predict="eps"), 2),
    "SDE 3M": (sde(order=3), 2),
    "SA(2, 2)": (samplers.sa_solver, 2),
    "SA(3, 3), tau = 1/2": (
        lambda schedule, times: samplers.sa_solver(schedule, times, tau=0.5, predictor_order=3, corrector_order=3),
        1.7,  # orders 1, 2 at both its ends
    ),
    "EDM with churn": (lambda schedule, times: samplers.edm(schedule, times, churn=20.0, churn_range=(0.05, 5.0)), 1.9),
    "restart": (restart, 2),
}


def law_error(schedule, table_of, steps):
    """How far mean and variance at t = 0.02 are off, from the exact law at t = 0.98."""
    times = samplers.grids.log_snr(schedule, steps, start=0.98, end=0.02)
    exact = [
        samplers.GaussianLaw(alpha * MEAN, alpha**2 * VARIANCE + sigma**2)
        for alpha, sigma in ((float(schedule.alpha(t)), float(schedule.sigma(t))) for t in times[[0, -1]])
    ]
    got = samplers.gaussian_law(table_of(schedule, times), schedule, MEAN, VARIANCE, start=exact[0])
    return max(np.abs(mine - true).max() for mine, true in zip(got, exact[1], strict=True))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", METHODS)
def test_mean_and_covariance_converge_to_the_exact_law(schedule, name):
    method, order = METHODS[name]
    errors = [law_error(schedule, method, 80)]
    with checking.off():
        errors = np.array([*errors, *(law_error(schedule, method, steps) for steps in (160, 320))])
    assert np.all(np.log2(errors[:-1] / errors[1:]) >= order - 0.2)


@pytest.mark.parametrize(("variance", "exact_for"), [("small", 0.0), ("large", 1.0)])
def test_each_of_ddpm_s_variances_is_exact_for_data_of_its_own(variance, exact_for):
    """The small one for a single point, the large one for N(0, 1), in any number of steps (arXiv:2006.11239, 3.2).

    From the law at t = 0.98 of the schedule alpha = cos(pi t / 2), sigma = sin(pi t / 2) to that at t = 0.3.
    """
    times = np.linspace(0.98, 0.3, 4)
    ends = np.cos(np.pi / 2 * times[[0, -1]]), np.sin(np.pi / 2 * times[[0, -1]])
    table = samplers.ddpm(COSINE, times, variance=variance)
    for spread in (0.0, 1.0):
        first, last = (
            samplers.GaussianLaw(np.array([alpha * 0.5 * (spread == 0)]), np.array([alpha**2 * spread + sigma**2]))
            for alpha, sigma in zip(*ends, strict=True)
        )
        got = samplers.gaussian_law(table, COSINE, 0.5 * (spread == 0), spread, start=first)
        np.testing.assert_allclose(got.mean, last.mean, atol=1e-12)
        error = np.abs(got.variance - last.variance).item()
        assert error < 1e-12 if spread == exact_for else error > 0.05


def test_the_law_is_what_sampling_gives():
    """gaussian_law against 200,000 samples of a table with anchor, query and noise."""
    times = samplers.grids.uniform(12)
    table = samplers.sa_solver(COSINE, times)
    mixture = denoisers.gaussian_mixture(COSINE, [1.0], MEAN[None], np.diag(VARIANCE)[None])
    prior_keys, keys = jax.random.split(jax.random.key(0), (2, 200_000))
    drawn = np.asarray(samplers.run(keys, mixture, table, samplers.prior(prior_keys, table, (2,))), float)
    mean, variance = samplers.gaussian_law(table, COSINE, MEAN, VARIANCE)
    np.testing.assert_array_less(np.abs(drawn.mean(0) - mean), 4 * np.sqrt(variance / 200_000))
    np.testing.assert_array_less(np.abs(drawn.var(0) / variance - 1), 4 * np.sqrt(2 / 200_000))


STRONG = ("DDPM", "Euler-Maruyama", "SDE 2M midpoint", "SA(2, 2)")
NUM_PATHS = 192


def log_snr_times(steps):
    return samplers.grids.log_snr(COSINE, steps, start=0.98, end=0.02)


def path_keys():
    return jax.random.split(jax.random.key(1), NUM_PATHS)


def along_paths(name, steps, noise, *given):
    """NUM_PATHS samples of a mixture in float64 by a method of METHODS; given: arguments of `noise` after its own."""
    mixture = denoisers.gaussian_mixture(COSINE, [0.4, 0.6], [[1.0, 0.5], [-0.6, 0.2]], [0.3, 0.5])

    # All as arguments: XLA would evaluate what it can of constants while it compiles.
    @jax.jit
    def run(keys, table, x, *given):
        noises = None if noise is None else lambda *call: noise(*call, *given)
        return samplers.run(keys, mixture, table, x, noise=noises)

    table = METHODS[name][0](COSINE, log_snr_times(steps))
    return run(path_keys(), table, jax.random.normal(jax.random.key(0), (NUM_PATHS, 2)), *given)


def row_of(keys, row, like, drawn):
    return drawn[row]


@functools.cache
def paths(steps):
    """Brownian noise of every row in float64, (steps, NUM_PATHS, 2): the same for all methods, and slow to compile."""
    noise = samplers.brownian(COSINE, log_snr_times(steps))
    rows = jax.jit(lambda keys, rows, like: jax.lax.map(lambda row: noise(keys, row, like), rows))
    return rows(path_keys(), jnp.arange(steps), jnp.zeros((NUM_PATHS, 2)))


@pytest.mark.parametrize("name", STRONG)
def test_one_path_at_any_number_of_steps(x64, name):
    """On a shared Brownian path samples converge, with strong order 1; with independent noise they do not."""
    ends = [along_paths(name, steps, row_of, paths(steps)) for steps in (20, 80, 320)]
    first, second = (float(jnp.sqrt(((a - b) ** 2).sum(-1).mean())) for a, b in itertools.pairwise(ends))
    # Between order 1 and the 1/2 of noise that is not integrated at all; experiments/solver_orders measures it.
    assert np.log2(first / second) / 2 > 0.7
    apart = float(jnp.sqrt(((along_paths(name, 320, None) - ends[2]) ** 2).sum(-1).mean()))
    assert apart > 10 * second


def test_sampling_follows_the_path(x64):
    steps, noise = 20, samplers.brownian(COSINE, log_snr_times(20))
    expected = along_paths("DDPM", steps, row_of, paths(steps))
    np.testing.assert_allclose(along_paths("DDPM", steps, noise), expected, rtol=1e-9, atol=1e-9)


def test_the_path_s_noise_is_standard_normal_and_independent():
    times, num = samplers.grids.uniform(10), 20_000
    noise = samplers.brownian(COSINE, times)
    keys, like = jax.random.split(jax.random.key(2), num), jnp.zeros((num, 1))
    draw = jax.jit(noise)
    drawn = np.stack([np.asarray(draw(keys, jnp.int32(row), like))[:, 0] for row in range(9)])
    # 1,000 numbers of mean 0 and variance 1 have these within 1 / sqrt(n) and sqrt(2 / n) of it.
    np.testing.assert_array_less(np.abs(drawn.mean(1)), 4 / np.sqrt(num))
    np.testing.assert_array_less(np.abs(drawn.var(1) - 1), 5 * np.sqrt(2 / num))
    np.testing.assert_array_less(np.abs(np.corrcoef(drawn) - np.eye(9)), 4.5 / np.sqrt(num))


def test_edm_s_churn_is_that_of_the_paper():
    """arXiv:2206.00364, algorithm 2, two steps of it in float64 with an affine denoiser."""
    schedule = schedules.VarianceExploding(0.01, 100.0)
    sigmas = np.array([20.0, 5.0, 1.0])
    table = samplers.edm(schedule, schedule.t_of_log_snr(-2 * np.log(sigmas)), churn=0.6, noise_scale=1.007)
    gamma, variance = 0.3, 0.5

    def slope(x, sigma):  # d = (x - D) / sigma for data N(0, variance)
        return (x - variance / (variance + sigma**2) * x) / sigma

    rng = np.random.default_rng(0)
    x, z = rng.normal(size=5) * 20, rng.normal(size=(2, 5))
    expected = x
    for (sigma, after), noise in zip([(20.0, 5.0), (5.0, 1.0)], z, strict=True):
        raised = sigma * (1 + gamma)
        expected = expected + np.sqrt(raised**2 - sigma**2) * 1.007 * noise
        first = slope(expected, raised)
        euler = expected + (after - raised) * first
        expected = expected + (after - raised) * (first + slope(euler, after)) / 2

    def halves(x, t):
        eps = slope(x, float(schedule.sigma(np.float64(t))))
        return x - float(schedule.sigma(np.float64(t))) * eps, eps

    assert table.initial_noise == pytest.approx(1.007 * np.sqrt(26.0**2 - 20.0**2))
    assert table.prior_std == pytest.approx(20.0)
    noise = np.stack([0 * z[1], z[1], 0 * z[1], 0 * z[1]])
    ours = samplers.reference_run(halves, table, x + table.initial_noise * z[0], noise)[-1]
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_edm_s_churn_down_to_zero_is_that_of_the_paper():
    """arXiv:2206.00364, algorithm 2, N = 3 with sigma_3 = 0; S_tmin above the last sigma, as in the paper's table 5."""
    schedule = schedules.VarianceExploding(0.01, 100.0)
    sigmas = np.array([20.0, 5.0, 1.0])
    times = schedule.t_of_log_snr(-2 * np.log(sigmas))
    table = samplers.to_data(
        samplers.edm(schedule, times, churn=0.6, churn_range=(2.0, np.inf), churn_steps=3), times[-1]
    )
    gamma, variance = 0.2, 0.5

    def denoised(x, sigma):  # D for data N(0, variance)
        return variance / (variance + sigma**2) * x

    rng = np.random.default_rng(0)
    x, z = rng.normal(size=5) * 20, rng.normal(size=(3, 5))
    expected = x
    for (sigma, after), noise in zip([(20.0, 5.0), (5.0, 1.0), (1.0, 0.0)], z, strict=True):
        raised = sigma * (1 + gamma) if sigma > 2 else sigma
        expected = expected + np.sqrt(raised**2 - sigma**2) * noise
        first = (expected - denoised(expected, raised)) / raised
        euler = expected + (after - raised) * first
        if after > 0:
            second = (euler - denoised(euler, after)) / after
            euler = expected + (after - raised) * (first + second) / 2
        expected = euler

    def halves(x, t):
        sigma = float(schedule.sigma(np.float64(t)))
        return denoised(x, sigma), (x - denoised(x, sigma)) / sigma

    assert table.num_evaluations == 2 * 3 - 1
    noise = np.stack([0 * z[1], z[1], 0 * z[1], 0 * z[1], z[2]])
    ours = samplers.reference_run(halves, table, x + table.initial_noise * z[0], noise)[-1]
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_edm_s_churn_is_capped():
    """gamma is at most sqrt(2) - 1 (arXiv:2206.00364, algorithm 2), and sigma at most that of t = 1."""
    schedule = schedules.VarianceExploding(0.01, 22.0)
    times = schedule.t_of_log_snr(-2 * np.log([20.0, 5.0, 1.0]))
    table = samplers.edm(schedule, times, churn=1e3)
    assert table.initial_noise == pytest.approx(np.sqrt(22.0**2 - 20.0**2))
    sigmas = 0.01 * 2200.0 ** np.asarray(table.times, float)
    np.testing.assert_allclose(sigmas, [22.0, 5.0, 5.0 * np.sqrt(2), 1.0], rtol=1e-9)
    np.testing.assert_allclose(table.c[1], 5.0, rtol=1e-9)  # sqrt(2 25 - 25)
    # By default its N is the number of intervals: gamma = 0.5 / 2.
    sigmas = 0.01 * 2200.0 ** np.asarray(samplers.edm(schedule, times, churn=0.5).times, float)
    np.testing.assert_allclose(sigmas, [22.0, 5.0, 6.25, 1.0], rtol=1e-9)


def test_edm_s_churn_is_within_its_range():
    """S_tmin and S_tmax: of sigma = 20, 5, 2 and 1 only 5 lies within [3, 10] (arXiv:2206.00364, algorithm 2)."""
    schedule = schedules.VarianceExploding(0.01, 100.0)
    times = schedule.t_of_log_snr(-2 * np.log([20.0, 5.0, 2.0, 1.0]))
    table = samplers.edm(schedule, times, churn=0.6, churn_range=(3.0, 10.0), second_order=False)
    np.testing.assert_allclose(0.01 * 1e4 ** np.asarray(table.times, float), [20.0, 6.0, 2.0], rtol=1e-9)
    assert table.initial_noise is None
    np.testing.assert_allclose(table.c, [np.sqrt(36.0 - 25.0), 0, 0], rtol=1e-9, atol=1e-12)


def test_a_restart_goes_through_the_levels_of_edm():
    """Uniform in (sigma / alpha)^(1/7) from high to low, on the schedule alpha = 1 - t, sigma = t; and its noise."""
    schedule, high, low = schedules.Flow(), 0.8, 0.4
    table = samplers.restart(schedule, [0.9, 0.4, 0.2], restarts=[(low, high, 3, 2)], second_order=False)
    ratios = np.linspace(4.0 ** (1 / 7), (2 / 3) ** (1 / 7), 4) ** 7
    back = (ratios / (1 + ratios))[:-1]
    np.testing.assert_allclose(table.times, [0.9, *back, *back, 0.4], rtol=1e-9)
    # q(x_high | x_low): the variance 0.8^2 - (0.2 / 0.6)^2 0.4^2, added twice.
    noise = np.sqrt(0.8**2 - (0.4 / 3) ** 2)
    np.testing.assert_allclose(table.c, [noise, 0, 0, noise, 0, 0, 0, 0], rtol=1e-9, atol=1e-12)
    # The Euler step to low, times alpha_high / alpha_low.
    assert table.a[0] == pytest.approx((0.6 / 0.1) * (0.2 / 0.6))


def test_a_restart_may_be_a_plain_tuple():
    times = samplers.grids.log_snr(COSINE, 8, start=0.98, end=0.02)
    part = (float(times[4]), float(times[2]), 3, 2)
    one, other = (samplers.restart(COSINE, times, restarts=[part]) for part in (part, samplers.Restart(*part)))
    for first, second in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(first, second)
    # 8 + 2 * 3 steps of Heun.
    assert one.num_evaluations == 2 * 14


def test_consistency_gives_what_a_perfect_consistency_model_has():
    """x_0 of the whole flow in one call: for N(0, v) data, x sqrt(v) / sqrt(alpha^2 v + sigma^2).

    From N(0, 1) at t = 1 every call then gives the data's own law: 100,000 samples have its variance, after one call
    and after two with fresh noise between them, on which the second sample depends as the closed form says.
    """
    table, variance = samplers.consistency(COSINE, [1.0, 0.5, 0.0]), 0.3
    assert table.num_evaluations == 2 and table.is_stochastic
    np.testing.assert_allclose(table.b[:, 0], [np.cos(np.pi / 4), 1.0])
    np.testing.assert_allclose(table.c, [np.sin(np.pi / 4), 0.0], atol=1e-15)

    def halves(x, t):
        alpha, sigma = np.cos(np.pi / 2 * t), np.sin(np.pi / 2 * t)
        x_0 = x * np.sqrt(variance / (alpha**2 * variance + sigma**2))
        return x_0, (x - alpha * x_0) / sigma

    x, *noise = np.random.default_rng(0).normal(size=(3, 100_000))
    half, end = samplers.reference_run(halves, table, x, np.array(noise))[-2:]
    first = np.sqrt(variance) * x
    np.testing.assert_allclose(half, (first + noise[0]) / np.sqrt(2), rtol=1e-7)
    np.testing.assert_allclose(end, np.sqrt(variance / (variance + 1)) * (first + noise[0]), rtol=1e-7)
    assert abs(first.var() / variance - 1) < 0.02 and abs(end.var() / variance - 1) < 0.02


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: samplers.edm(COSINE, [0.9, 0.1], churn=-1.0), "churn must be >= 0"),
        (lambda: samplers.edm(COSINE, [0.9, 0.1], noise_scale=0.0), "noise_scale must be > 0"),
        (lambda: samplers.edm(COSINE, [0.9, 0.1], churn_steps=0), "churn_steps must be >= 1, got 0"),
        (lambda: samplers.edm(COSINE, [0.9, 0.1], churn=1.0), "at t = 0.9, would change alpha: start at t = 1"),
        (lambda: samplers.edm(COSINE, [0.1, 0.9]), "times must be decreasing"),
        (
            lambda: samplers.restart(COSINE, [0.9, 0.1], restarts=[samplers.Restart(0.5, 0.7, 3)]),
            "low = 0.5 must be one of the times",
        ),
        (
            lambda: samplers.restart(COSINE, [0.9, 0.5, 0.1], restarts=[samplers.Restart(0.5, 0.4, 3)]),
            "a restart needs 0 < low < high <= 1",
        ),
        (lambda: samplers.brownian(COSINE, [0.1, 0.9]), "times must be decreasing"),
        (lambda: samplers.euler_maruyama(COSINE, [0.1, 0.9]), "times must be decreasing"),
        (lambda: samplers.consistency(COSINE, [0.1, 0.9]), "times must be decreasing"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
