"""Losses of flow maps: right where the flow map is, by exact flow maps of Gaussian data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, losses, processes, schedules
from diffax.denoisers import flow_maps
from diffax.losses import _flow_map, weighting
from diffax.processes import time_sampling

MEAN, COVARIANCE = np.array([0.5, -1.0]), np.array([[1.0, 0.3], [0.3, 0.25]])
CASES = {
    "flow": (schedules.Flow(), processes.FlowVelocity()),
    "cosine_v": (schedules.Cosine(), processes.V()),
    "exploding_edm": (schedules.VarianceExploding(0.02, 40.0), processes.Edm(0.5)),
}
KEYS = jax.random.split(jax.random.key(0), 64)
X_0 = np.random.default_rng(1).multivariate_normal(MEAN, COVARIANCE, 64)
DENSITY = time_sampling.Uniform(0.05, 0.95)


def exact_output(schedule, parameterization, mixture):
    """The raw output of the exact flow map: predict(x_t, t, s)."""
    two_times = flow_maps.two_time_denoiser(flow_maps.gaussian(mixture), schedule)

    def predict(x_t, t, s=None, *, key=None):
        x_0, eps = mixture(x_t, t)[:2]
        if s is not None:
            # The line through x_t and x_s needs two times.
            same = jnp.abs(t - s) < 1e-9
            pair = two_times(x_t, t, jnp.where(same, t - 1e-3, s))
            x_0, eps = (jnp.where(same[:, None], *halves) for halves in zip((x_0, eps), pair[:2], strict=True))
        return parameterization.target(schedule, x_0, eps, t)

    return predict


def gradient(loss, case, change, at, **options):
    """Loss and its gradient in a disturbance of the exact raw output, at a strength."""
    schedule, parameterization = CASES[case]
    mixture = denoisers.gaussian_mixture(schedule, [1.0], MEAN[None], COVARIANCE[None])
    exact = exact_output(schedule, parameterization, mixture)

    def value(strength):
        def predict(x_t, t, s=None, *, key=None):
            return exact(x_t, t, s) + strength * change(x_t, t, t if s is None else s)

        rules = {"weighting": weighting.Flow(), "time_density": DENSITY, "teacher": mixture}
        return loss(KEYS, predict, schedule, parameterization, jnp.asarray(X_0), **rules, **options).mean()

    return jax.jit(jax.vmap(jax.value_and_grad(value)))(jnp.asarray(at))


def bump(x_t, t, s):
    return jnp.sin(3 * x_t) + 0.5 + t[:, None] * x_t[:, ::-1]


# Options with which the loss has its minimum at the exact flow map.
EXACT = {
    losses.mean_flow: {"share": 0.8, "adaptive": 0.0},
    losses.improved_mean_flow: {"share": 0.8, "adaptive": 0.0},
    losses.terminal_velocity: {},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("loss", EXACT, ids=lambda loss: loss.__name__)
def test_the_minimum_is_at_the_exact_flow_map(loss, case):
    """And not where the flow map is disturbed, so that a vanishing gradient shows something."""
    with jax.enable_x64(True):
        values, slopes = gradient(loss, case, bump, [0.0, 0.2], **EXACT[loss])
        assert abs(slopes[0]) < 1e-5 and values[0] < 1e-9
        assert abs(slopes[1]) > 0.01 and values[1] > 1e-3


class Given:
    """A density of times whose draws are these."""

    def __init__(self, times):
        self.times = times

    def sample(self, keys, schedule):
        return self.times

    def log_density(self, schedule, t):
        return jnp.zeros_like(t)


W = np.array([[0.7, -0.4, 0.1], [0.2, 0.5, -0.6], [-0.3, 0.8, 0.4]])
# The larger of two times and the smaller, in either order; the last is a sample of one time (share below says how).
FIRST, OTHER = np.array([0.9, 0.3, 0.6, 0.75]), np.array([0.2, 0.8, 0.55, 0.1])
T, S = np.maximum(FIRST, OTHER), np.minimum(FIRST, OTHER)
DATA, NOISE = np.random.default_rng(3).standard_normal((2, 4, 3))


def u(x, t, s, xp=np):
    """An average velocity in closed form, tanh(x W) (1 + t^2) + s sin(t)."""
    return xp.tanh(x @ W) * (1 + t**2)[:, None] + (s * xp.sin(t))[:, None]


def u_slopes(x, t, s, v):
    """Its derivatives along (v, 1) in (x, t), and in s."""
    hyperbolic = np.tanh(x @ W)
    along_x = (1 - hyperbolic**2) * (v @ W) * (1 + t**2)[:, None]
    return along_x + hyperbolic * (2 * t)[:, None] + (s * np.cos(t))[:, None], np.sin(t)[:, None] + 0 * x


def loss_of(loss, **options):
    """The loss of `u` under the flow schedule and parameterization, with the times above."""
    with jax.enable_x64(True):
        rules = {"weighting": weighting.Flow(), "time_density": Given(jnp.asarray(OTHER))}

        def predict(x_t, t, s=None, *, key=None):
            return u(x_t, t, t if s is None else s, jnp)

        arguments = (KEYS[:4], predict, schedules.Flow(), processes.FlowVelocity(), jnp.asarray(DATA))
        return np.asarray(jax.jit(lambda eps, t: loss(*arguments, eps=eps, t=t, **rules, **options))(NOISE, FIRST))


def x_at(t):
    return (1 - t)[:, None] * DATA + t[:, None] * NOISE


def mean_flow_error():
    """u - u_tgt with u_tgt = v - (t - r) (v d_x u + d_t u), arXiv:2505.13447, eq. 10 and 11."""
    v, x = NOISE - DATA, x_at(T)
    return u(x, T, S) - v + (T - S)[:, None] * u_slopes(x, T, S, v)[0]


def test_mean_flow_is_the_published_loss():
    """With the adaptive weight of the authors' code: sums over dimensions, here divided by their number for p = 0."""
    squared = (mean_flow_error() ** 2).sum(1)
    for power, constant in ((0.0, 0.0), (1.0, 0.01), (0.75, 1e-3)):
        expected = squared / (squared + constant) ** power * 3.0 ** (power - 1)
        found = loss_of(losses.mean_flow, share=1.0, adaptive=power, constant=constant)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    # With one time it is flow matching.
    plain = ((u(x_at(T), T, T) - (NOISE - DATA)) ** 2).mean(1)
    np.testing.assert_allclose(loss_of(losses.mean_flow, share=0.0, adaptive=0.0), plain, rtol=1e-9)


def test_improved_mean_flow_is_the_published_loss():
    """|u + (t - r) (v_theta d_x u + d_t u) - v|^2 with v_theta = u(x, t, t), arXiv:2512.02012, algorithm 1."""
    v, x = NOISE - DATA, x_at(T)
    error = u(x, T, S) + (T - S)[:, None] * u_slopes(x, T, S, u(x, T, T))[0] - v
    found = loss_of(losses.improved_mean_flow, share=1.0, adaptive=0.0)
    np.testing.assert_allclose(found, (error**2).mean(1), rtol=1e-9)
    assert (np.abs(error - mean_flow_error()) > 0.01).any()


def test_terminal_velocity_is_the_published_loss():
    """|df/ds - u(f, s, s)|^2 with f = x + (s - t) u(x, t, s), plus flow matching, arXiv:2511.19797."""
    x, v = x_at(T), NOISE - DATA
    f = x + (S - T)[:, None] * u(x, T, S)
    error = u(x, T, S) + (S - T)[:, None] * u_slopes(x, T, S, v)[1] - u(f, S, S)
    matching = u(x_at(FIRST), FIRST, FIRST) - v
    np.testing.assert_allclose(loss_of(losses.terminal_velocity), (error**2 + matching**2).mean(1), rtol=1e-9)


def test_two_times_are_independent_draws():
    """Also where the times of a batch are stratified: both from one stratum, they would be alike."""
    keys = jax.random.split(jax.random.key(2), 20_000)
    for density in (time_sampling.Uniform(), time_sampling.Stratified(time_sampling.Uniform())):
        t = density.sample(jax.random.split(jax.random.key(3), 20_000), schedules.Flow())
        later, s = _flow_map.second_time(keys, schedules.Flow(), density, t, share=0.75)
        span = np.asarray(later - s)
        assert (span >= 0).all() and abs((span > 0).mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 20_000)
        # The distance of two uniform numbers has mean 1/3 and variance 1/18.
        assert abs(span[span > 0].mean() - 1 / 3) < 4 * np.sqrt(1 / 18 / 15_000)
        np.testing.assert_allclose(later[span == 0], np.maximum(later, t)[span == 0])


# Guidance: the conditional data are N(A, 0.5^2), all data N(B, 0.5^2). Guided with a scale w the velocity is that of
# N(A + (w - 1) (A - B), 0.5^2), since it is affine in the mean.
A, B, STD = 0.8, -0.3, 0.5
DROPPED = np.arange(64) % 4 == 3


def guided_output(schedule, parameterization):
    """predict(x_t, t, s, scale, low, high): the raw output of the exact guided flow map, each sample with its own."""
    base = jnp.where(DROPPED, B, A)[:, None]

    def moved(x, t, s, mean):
        alpha_t, sigma_t, alpha_s, sigma_s = (
            f(time)[:, None] for time in (t, s) for f in (schedule.alpha, schedule.sigma)
        )
        spread = jnp.sqrt((alpha_s**2 * STD**2 + sigma_s**2) / (alpha_t**2 * STD**2 + sigma_t**2))
        return alpha_s * mean + spread * (x - alpha_t * mean)

    def predict(x_t, t, s, scale, low, high):
        guided = base + (scale[:, None] - 1) * (base - B)
        same = t - s < 1e-9
        # At one time its velocity is that to a time nearby, with or without guidance.
        near = jnp.where(same, t - 1e-6, s)
        end, start = (jnp.clip(time, near, t) for time in (high, low))
        x_s = moved(moved(moved(x_t, t, end, base), end, start, guided), start, near, base)
        pair = flow_maps.two_time_denoiser(lambda x_t, t, s: x_s, schedule)(x_t, t, near)
        return parameterization.target(schedule, *pair[:2], t)

    return predict


def guided_loss(loss, case, at, known, **options):
    """Loss and gradient at these strengths of a disturbance of the guided flow map.

    known: told -> (scale, low, high), the guidance that the network is right for.
    """
    schedule, parameterization = CASES[case]
    exact = guided_output(schedule, parameterization)
    everywhere = (jnp.ones(64), jnp.zeros(64), jnp.ones(64))
    means = jnp.where(DROPPED, B, A)[:, None] * jnp.ones((64, 2))

    def teacher(x_t, t):
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        x_0 = means + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x_t - alpha * means)
        return x_0, (x_t - alpha * x_0) / sigma

    def unconditional(x_t, t, s=None, *, key=None):
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        x_0 = B + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x_t - alpha * B)
        return parameterization.target(schedule, x_0, (x_t - alpha * x_0) / sigma, t)

    def value(strength):
        def predict(x_t, t, s=None, *, key=None, told=None):
            s = t if s is None else s
            guidance = known(told, t, s)
            return exact(x_t, t, s, *(everywhere if guidance is None else guidance)) + strength * bump(x_t, t, s)

        null = losses.Unconditional(unconditional, jnp.asarray(DROPPED))
        rules = {"weighting": weighting.Flow(), "time_density": DENSITY, "teacher": teacher, "unconditional": null}
        return loss(
            KEYS, predict, schedule, parameterization, jnp.asarray(X_0), **rules, adaptive=0.0, **options
        ).mean()

    return jax.jit(jax.vmap(jax.value_and_grad(value)))(jnp.asarray(at))


def of_told(told, t, s):
    """What the network is told, read back; nothing is dropped and guided."""
    scale = 1 / (1 - told["guidance_scale"])
    assert set(told) == {"guidance_scale", "guidance_low", "guidance_high"}
    return scale, told["guidance_low"], 1 - told["guidance_high"]


def test_guided_losses_have_their_minimum_at_the_guided_flow_map(case="cosine_v"):
    """The flow map of scale omega / (1 - kappa) inside an interval; told, of each scale and interval."""

    def fixed(told, t, s):
        assert told is None
        return jnp.full(64, 3.0), jnp.full(64, 0.3), jnp.full(64, 0.7)

    with jax.enable_x64(True):
        published = {"omega": 1.5, "kappa": 0.5, "interval": (0.3, 0.7), "share": 0.8}
        told = {"max_scale": 8.0, "scale_power": 2.0, "share": 0.8}
        for loss, known, options in ((losses.mean_flow, fixed, published), (losses.improved_mean_flow, of_told, told)):
            values, slopes = guided_loss(loss, case, [0.0, 0.2], known, **options)
            assert abs(slopes[0]) < 1e-5 and values[0] < 1e-9
            assert abs(slopes[1]) > 0.01
        # A network that takes no notice of its guidance is wrong.
        values, _ = guided_loss(losses.improved_mean_flow, case, [0.0], lambda *_: None, **told)
        assert values[0] > 1e-3


@pytest.mark.parametrize("power", [1.0, 2.5])
def test_guidance_scales_have_their_density(power):
    """Proportional to w^-power from 1 to 8: the share of scales below 2, in closed form; 1 for dropped samples."""
    num, seen = 20_000, {}

    def predict(x_t, t, s=None, *, key=None, told=None):
        seen.update({} if s is None else told)
        return x_t

    null = losses.Unconditional(predict, jnp.arange(num) % 2 == 0)
    rules = {"weighting": weighting.Flow(), "time_density": time_sampling.Uniform(), "unconditional": null}
    options = {"share": 1.0, "max_scale": 8.0, "scale_power": power}

    @jax.jit
    def told():
        keys = jax.random.split(jax.random.key(1), num)
        flow = (schedules.Flow(), processes.FlowVelocity())
        losses.improved_mean_flow(keys, predict, *flow, jnp.zeros((num, 1)), **rules, **options)
        return dict(seen)

    found = {name: np.asarray(value) for name, value in told().items()}
    scale = 1 / (1 - found["guidance_scale"])
    assert (scale[::2] == 1).all() and scale.max() <= 8.001
    below = np.log(2) / np.log(8) if power == 1 else (1 - 2 ** (1 - power)) / (1 - 8 ** (1 - power))
    assert abs((scale[1::2] < 2).mean() - below) < 4 * 0.5 / np.sqrt(num / 2)
    low, high = found["guidance_low"], 1 - found["guidance_high"]
    assert 0 <= low.min() < 0.01 and 0.49 < low.max() < 0.51 and 0.49 < high.min() < 0.51 and 0.99 < high.max() <= 1


def test_guidance_needs_conditions():
    for loss, option in ((losses.mean_flow, {"omega": 2.0}), (losses.improved_mean_flow, {"max_scale": 4.0})):
        with pytest.raises(ValueError, match="guidance in training needs a network with conditions"):
            loss_of(loss, **option)


def test_the_mean_flow_identity_of_a_mixture():
    """u = v - (t - s) du/dt along the trajectory, arXiv:2505.13447, eq. 6, for the integrated average velocity.

    So the error that the loss corrects vanishes at the flow map of data that are not Gaussian too. The derivative is by
    central differences; experiments/flow_maps trains a network to this flow map.
    """
    with jax.enable_x64(True):
        schedule = schedules.Flow()
        mixture = denoisers.gaussian_mixture(schedule, [0.3, 0.7], [[-1.0, 0.0], [1.0, 0.5]], [0.4, 0.3])
        exact = flow_maps.integrated(mixture, schedule, tolerance=1e-10)
        rng, h = np.random.default_rng(0), 1e-4
        x, t = jnp.asarray(rng.standard_normal((8, 2))), jnp.linspace(0.3, 0.95, 8)
        s = t * jnp.linspace(0.9, 0.0, 8)

        @jax.jit
        def average(x, t):
            return (x - exact(x, t, s)) / (t - s)[:, None]

        prediction = mixture(x, t)
        v = prediction.eps - prediction.x_0
        # The trajectory is bent by less than h^2.
        slope = (average(x + h * v, t + h) - average(x - h * v, t - h)) / (2 * h)
        u = average(x, t)
        assert float(jnp.abs(u - v).max()) > 0.1
        np.testing.assert_allclose(u, v - (t - s)[:, None] * slope, atol=1e-5)
