"""The bound in continuous time: Gaussian data in closed form, a mixture's density, invariance to the schedule."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, schedules
from diffax.likelihood import continuous_bound

MOST, LEAST = 9.0, -7.0  # log-SNR at the two times
SCHEDULES = {
    "cosine": schedules.Cosine(),
    "linear_beta": schedules.LinearBeta(),
    "sub_vp": schedules.SubVP(),
    "variance_exploding": schedules.VarianceExploding(),
    "flow": schedules.Flow(),
}
NAMES = sorted(SCHEDULES)
STD, X = 0.8, np.array([0.5, -1.1])
MIXTURE = [0.3, 0.7], [[-1.0, 0.5], [0.8, -0.2]], [0.3, 0.5]


@functools.partial(jax.jit, static_argnames=("times", "num_times", "uniform_in"))
def compiled(keys, denoiser, x_0, **options):
    return continuous_bound.terms(keys, denoiser, denoiser.schedule, x_0, **options)


@functools.cache
def estimates(name):
    """(terms of 1,000 estimates at X for Gaussian data, of 1,000 points of a mixture, -log density of the points)."""
    schedule = SCHEDULES[name]
    times = tuple(float(schedule.t_of_log_snr(value)) for value in (MOST, LEAST))
    # Two components, as the mixture has: one program for both.
    gaussian = denoisers.gaussian_mixture(schedule, [0.5, 0.5], np.zeros((2, 2)), [STD, STD])
    mixture = denoisers.gaussian_mixture(schedule, *MIXTURE)
    keys = jax.random.split(jax.random.key(3), 1000)
    data = denoisers.gaussian_mixture(schedules.Cosine(), *MIXTURE)
    points = data.sample(jax.random.split(jax.random.key(4), 1000))
    run = functools.partial(compiled, keys, times=times, num_times=200)
    of_gaussian, of_mixture = run(gaussian, jnp.tile(jnp.asarray(X, jnp.float32), (1000, 1))), run(mixture, points)
    in_numpy = [[np.asarray(term, float) for term in terms] for terms in (of_gaussian, of_mixture)]
    return *in_numpy, -np.asarray(data.log_density(points, 0.0), float)


def within_errors(values, expected, errors=4):
    return abs(values.mean() - expected) < errors * values.std() / len(values) ** 0.5


@pytest.mark.parametrize("name", NAMES)
def test_terms_of_gaussian_data_are_those_in_closed_form(name):
    """|eps - eps_hat|^2 has the mean (r s^2 / y)^2 + r x^2 / y^2 at SNR r, y = 1 + r s^2; half its integral d log r."""
    prior, reconstruction, diffusion = estimates(name)[0]
    np.testing.assert_allclose(prior, np.exp(LEAST) * (X**2).sum() / 2, rtol=1e-4)
    np.testing.assert_allclose(reconstruction, 1 + np.log(2 * np.pi) - MOST, rtol=1e-5)
    high, low = (1 + np.exp(log_snr) * STD**2 for log_snr in (MOST, LEAST))
    integral = [np.log(y) + 1 / y - (X / STD) ** 2 / y for y in (high, low)]
    assert within_errors(diffusion, (integral[0] - integral[1]).sum() / 2)


def test_the_bound_of_a_mixture_is_its_log_density_and_does_not_depend_on_the_schedule():
    totals = {name: sum(estimates(name)[1]) for name in NAMES}
    for name, total in totals.items():
        above = total - estimates(name)[2]  # of the same points
        error = above.std() / len(above) ** 0.5
        # What it is above in the mean: two KL divergences, of the prior and the decoder, both about e^-7.
        assert -4 * error < above.mean() < 0.005 + 4 * error, name
        assert error < 0.08, name
        difference = total - totals["cosine"]
        assert name == "cosine" or within_errors(difference, 0.0), name
    # They differ in variance.
    assert totals["linear_beta"].var() > 2 * totals["variance_exploding"].var()


def test_slices_of_time_lower_the_variance_and_not_the_mean():
    schedule = SCHEDULES["cosine"]
    oracle = denoisers.gaussian_mixture(schedule, [0.5, 0.5], np.zeros((2, 2)), [STD, STD])
    x_0, keys = jnp.tile(jnp.asarray(X, jnp.float32), (1000, 1)), jax.random.split(jax.random.key(5), 1000)
    times = (0.02, 0.99)
    single, sliced = (
        np.asarray(compiled(keys, oracle, x_0, times=times, num_times=num).diffusion, float) for num in (1, 8)
    )
    assert abs(single.mean() - sliced.mean()) < 4 * (single.var() / 1000 + sliced.var() / 1000) ** 0.5
    assert sliced.var() < single.var() / 8


def test_times_uniform_in_log_snr_lower_the_variance_where_log_snr_is_steep_and_not_the_mean():
    schedule = SCHEDULES["linear_beta"]
    oracle = denoisers.gaussian_mixture(schedule, [0.5, 0.5], np.zeros((2, 2)), [STD, STD])
    x_0, keys = jnp.tile(jnp.asarray(X, jnp.float32), (1000, 1)), jax.random.split(jax.random.key(8), 1000)
    times = tuple(float(schedule.t_of_log_snr(value)) for value in (MOST, LEAST))
    in_t, in_log_snr = (
        np.asarray(compiled(keys, oracle, x_0, times=times, num_times=8, uniform_in=name).diffusion, float)
        for name in ("t", "log_snr")
    )
    high, low = (1 + np.exp(log_snr) * STD**2 for log_snr in (MOST, LEAST))
    integral = [np.log(y) + 1 / y - (X / STD) ** 2 / y for y in (high, low)]
    assert within_errors(in_log_snr, (integral[0] - integral[1]).sum() / 2)
    assert in_log_snr.var() < in_t.var() / 2


def test_the_decoder_of_levels_is_vdms_softmax():
    """-E log softmax_k(-SNR (x + eps / sqrt(SNR) - level_k)^2 / 2), the mean by Gauss-Hermite quadrature."""
    schedule, num_levels = schedules.VarianceExploding(0.05, 50.0), 17
    levels, noise = np.linspace(-1, 1, num_levels), np.polynomial.hermite_e.hermegauss(80)
    log_joint = -(((levels[:, None, None] + 0.05 * noise[0][:, None] - levels) / 0.05) ** 2) / 2
    log_norm = np.log(np.exp(log_joint).sum(-1))
    own = np.stack([log_joint[k, :, k] for k in range(num_levels)])
    expected = (log_norm - own) @ noise[1] / noise[1].sum()

    x_0 = jnp.tile(jnp.asarray(levels, jnp.float32), (1000, 1))
    keys = jax.random.split(jax.random.key(6), 1000)
    reconstruction = continuous_bound._discrete_reconstruction(keys, schedule, x_0, 0.0, num_levels)
    assert within_errors(np.asarray(reconstruction, float), expected.sum())
    # One level is certain where there is hardly any noise.
    exact = continuous_bound._discrete_reconstruction(keys, schedules.VarianceExploding(0.005), x_0, 0.0, num_levels)
    np.testing.assert_allclose(exact, 0, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times": (0.0, 1.0)}, r"needs sigma > 0 at the first of its times, and sigma\(0\) = 0"),
        ({"times": (0.5, 0.2)}, r"times must increase within \[0, 1\], got \(0.5, 0.2\)"),
        ({"num_times": 0}, "num_times must be >= 1, got 0"),
        ({"num_levels": 1}, "num_levels must be >= 2, or None for continuous data, got 1"),
    ],
)
def test_bad_settings_are_refused(options, message):
    oracle = denoisers.gaussian_mixture(schedules.Cosine(), *MIXTURE)
    with pytest.raises(ValueError, match=message):
        continuous_bound.terms(
            jax.random.split(jax.random.key(0), 2), oracle, oracle.schedule, jnp.ones((2, 2)), **options
        )
