"""Inversion to rounding, and interpolation between latents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, processes, samplers, schedules

COSINE = schedules.Cosine()
X = np.random.default_rng(0).normal(size=(6, 2))


def mixture(schedule, shift=0.0):
    return denoisers.gaussian_mixture(schedule, [0.4, 0.6], [[1.0 + shift, 0.5], [-0.6 + shift, 0.2]], [0.3, 0.5])


@pytest.mark.parametrize("schedule", [COSINE, schedules.Flow(), schedules.VarianceExploding(0.02, 20.0)])
def test_what_ddim_makes_of_the_inverted_is_the_data(x64, schedule):
    times, data = np.linspace(0.0, 0.98, 26), jnp.asarray(X)
    down = samplers.ddim(schedule, times[::-1])
    exact = samplers.invert(mixture(schedule), schedule, data, times, sweeps=30)
    plain = samplers.run(None, mixture(schedule), samplers.ddim(schedule, times), data)
    back, roughly = (samplers.run(None, mixture(schedule), down, x) for x in (exact.x, plain))
    assert np.abs(back - data).max() < 1e-7
    assert np.all(exact.residual < 1e-7)
    assert np.abs(roughly - data).max() > 1e-3


def test_fewer_sweeps_are_told_by_the_residual(x64):
    times = np.linspace(0.0, 0.98, 26)
    residuals = [samplers.invert(mixture(COSINE), COSINE, jnp.asarray(X), times, sweeps=n).residual for n in (1, 3, 9)]
    assert np.all(residuals[0] > 3 * residuals[1]) and np.all(residuals[1] > 3 * residuals[2])


def test_a_better_table_inverts_better(x64):
    """Any table on increasing times: order 2 against order 1, 25 evaluations each way."""
    times, data = np.linspace(0.0, 0.98, 26), jnp.asarray(X)

    def error(method):
        up, down = method(COSINE, times), method(COSINE, times[::-1])
        return np.abs(
            samplers.run(None, mixture(COSINE), down, samplers.run(None, mixture(COSINE), up, data)) - data
        ).max()

    assert error(lambda s, t: samplers.adams(s, t, order=2, predict="eps")) < 0.5 * error(samplers.ddim)


def test_an_edit_inverts_under_one_and_generates_under_another(x64):
    """Two data sets that differ by a shift: what is inverted under the first comes out shifted under the second."""
    times, data = np.linspace(0.0, 0.98, 51), jnp.asarray(X)
    latent = samplers.invert(mixture(COSINE), COSINE, data, times, sweeps=30).x
    edited = samplers.run(None, mixture(COSINE, 2.0), samplers.ddim(COSINE, times[::-1]), latent)
    moved = np.asarray(edited - data)
    assert np.all(np.abs(moved[:, 0] - 2.0) < 0.5) and np.all(np.abs(moved[:, 1]) < 0.5)


# A schedule, and the error of 200 steps: that of order 2.
ANY = [COSINE, schedules.Flow(), schedules.VarianceExploding(0.002, 80.0), schedules.LinearBeta()]


@pytest.mark.parametrize("schedule", ANY, ids=lambda one: type(one).__name__)
def test_an_edit_between_gaussians_is_an_affine_map(x64, schedule):
    """The ODE of N(mean, covariance) is linear: it scales every principal axis like the standard deviation of x_t."""
    rng, stds = np.random.default_rng(1), np.array([0.1, 0.4, 1.0])
    axes = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2)]
    means = rng.normal(size=(2, 3))
    own, other = (
        denoisers.gaussian_mixture(schedule, [1.0], [mean], (axis * stds**2 @ axis.T)[None])
        for mean, axis in zip(means, axes, strict=True)
    )
    x = rng.normal(size=(5, 3))
    for strength in (0.4, 1.0):
        times = samplers.inversion_times(schedule, 200, strength=strength)
        up, down = (samplers.unipc(schedule, t, order=2) for t in (times, times[::-1]))
        latent = samplers.run(None, own, up, jnp.asarray(x))
        edited = samplers.run(None, other, down, latent)
        (alpha, alpha_end), (sigma, sigma_end) = schedule.alpha(times[[0, -1]]), schedule.sigma(times[[0, -1]])
        growth = np.sqrt((alpha_end**2 * stds**2 + sigma_end**2) / (alpha**2 * stds**2 + sigma**2))
        expected = alpha_end * means[0] + (x - alpha * means[0]) @ (axes[0] * growth @ axes[0].T)
        np.testing.assert_allclose(latent, expected, atol=1e-3 * max(1, sigma_end))
        expected = alpha * means[1] + (expected - alpha_end * means[1]) @ (axes[1] / growth @ axes[1].T)
        np.testing.assert_allclose(edited, expected, atol=1e-3)


@pytest.mark.parametrize(
    "schedule", [*ANY, schedules.SubVP(), schedules.Discrete.linear(), schedules.Discrete.cosine()]
)
def test_times_of_inversion_avoid_both_ends(schedule):
    for strength in (0.01, 0.5, 1.0):
        times = samplers.inversion_times(schedule, 20, strength=strength)
        assert np.all(np.diff(times) > 0) and times[0] >= 0 and times[-1] <= 1
        assert np.all(schedule.sigma(times) > 0) and np.all(schedule.alpha(times) > 0)
    whole = samplers.inversion_times(schedule, 20)
    ratio = schedule.sigma(whole[[0, -1]]) / schedule.alpha(whole[[0, -1]])
    assert 0.005 < ratio[0] < 0.0115 and 50 < ratio[1] < 60
    half = samplers.inversion_times(schedule, 20, strength=0.5)
    np.testing.assert_allclose(half[-1], whole[[0, -1]].mean(), atol=1e-3)
    steps = getattr(schedule, "num_steps", None)
    assert steps is None or np.allclose(whole * steps, np.round(whole * steps))


def test_sdedit_keeps_more_the_earlier_it_starts():
    keys = jax.random.split(jax.random.key(0), 500)
    guide, noise = jnp.full((500, 2), 0.9), jax.random.normal(jax.random.key(1), (500, 2))
    kept = []
    for t in (0.1, 0.5, 0.9):
        start = processes.diffuse(COSINE, guide, noise, jnp.full(500, t))
        edited = samplers.run(keys, mixture(COSINE), samplers.ddpm(COSINE, np.linspace(t, 0.0, 51)), start)
        kept.append(float(jnp.abs(edited - guide).mean()))
    assert kept[0] < kept[1] < kept[2]


def test_lerp_and_slerp():
    x, y = jnp.asarray([[1.0, 0.0], [2.0, 0.0]]), jnp.asarray([[0.0, 1.0], [0.0, 4.0]])
    np.testing.assert_allclose(samplers.lerp(x, y, 0.25), [[0.75, 0.25], [1.5, 1.0]])
    third = np.pi / 6
    np.testing.assert_allclose(
        samplers.slerp(x, y, jnp.asarray([1 / 3, 0.5])),
        [[np.cos(third), np.sin(third)], [3 * np.sqrt(0.5), 3 * np.sqrt(0.5)]],
        rtol=1e-6,
    )
    for share, end in ((0.0, x), (1.0, y)):
        np.testing.assert_allclose(samplers.slerp(x, y, share), end, atol=1e-6)
    np.testing.assert_allclose(samplers.slerp(x, x, 0.3), x, rtol=1e-6)


def test_slerp_of_noise_is_noise():
    """Norms of 1,000 numbers stay near sqrt(1000), where a straight line loses up to 0.29 of them."""
    x, y = jax.random.normal(jax.random.key(0), (2, 20, 1000))
    norms = jnp.linalg.norm(samplers.slerp(x, y, 0.5), axis=1)
    np.testing.assert_allclose(norms, np.sqrt(1000), rtol=0.06)
    assert jnp.linalg.norm(samplers.lerp(x, y, 0.5), axis=1).mean() < 0.75 * np.sqrt(1000)


def test_errors():
    x = jnp.asarray(X, jnp.float32)
    with pytest.raises(ValueError, match="must be increasing"):
        samplers.invert(mixture(COSINE), COSINE, x, [0.9, 0.1])
    with pytest.raises(ValueError, match="pure noise \\(alpha = 0\\): end below t = 1"):
        samplers.invert(mixture(COSINE), COSINE, x, [0.1, 1.0])
    for strength in (0.0, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"strength must be in \(0, 1\], got"):
            samplers.inversion_times(COSINE, 10, strength=strength)
    with pytest.raises(ValueError, match="num_steps must be >= 1, got 0"):
        samplers.inversion_times(COSINE, 0)
    with pytest.raises(ValueError, match="sweeps must be >= 1, got 0"):
        samplers.invert(mixture(COSINE), COSINE, x, [0.1, 0.9], sweeps=0)
