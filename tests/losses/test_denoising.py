"""The denoising loss: one number for all parameterizations, the weights' own, from one end of time to the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, losses, processes, schedules
from diffax.losses import weighting
from diffax.processes import time_sampling
from tests.cases import PARAMETERIZATIONS, SCHEDULES

RNG = np.random.default_rng(0)
BATCH, DIM = 6, 4
X_0, NOISE, WRONG = RNG.normal(size=(3, BATCH, DIM)).astype(np.float32).astype(np.float64)
T = np.linspace(0.05, 0.95, BATCH).astype(np.float32).astype(np.float64) + 2.0**-12
KEYS = jax.random.split(jax.random.key(0), BATCH)
UNIFORM = time_sampling.Uniform()
# The weight of |error of eps|^2 in the papers' words; slope = |d log_snr / dt|, the inverse of UNIFORM's density.
WEIGHTS = {
    "uniform": (weighting.Uniform(), lambda snr, slope: 1),
    "truncated_snr": (weighting.TruncatedSnr(), lambda snr, slope: np.maximum(snr, 1) / snr),
    "min_snr": (weighting.MinSnr(), lambda snr, slope: np.minimum(snr, 5) / snr),
    "p2": (weighting.P2(), lambda snr, slope: 1 / (1 + snr)),
    "edm": (weighting.Edm(0.5), lambda snr, slope: (1 / snr + 0.25) / 0.25),
    "velocity": (weighting.Velocity(), lambda snr, slope: (snr + 1) / snr),
    "flow": (weighting.Flow(), lambda snr, slope: (1 + snr**-0.5) ** 2),
    "variational": (weighting.Variational(), lambda snr, slope: slope / 2),
    "sigmoid": (weighting.Sigmoid(-1.0), lambda snr, slope: slope / 2 / (1 + snr * np.exp(1))),
}


def raw_output(name, alpha, sigma, x_0, eps):
    """What each network would have put out to mean the pair (x_0, eps), in float64."""
    sd = PARAMETERIZATIONS["edm"].sigma_data
    return {
        "eps": lambda: eps,
        "x_0": lambda: x_0,
        "v": lambda: alpha * eps - sigma * x_0,
        "flow": lambda: eps - x_0,
        "score": lambda: -eps / sigma,
        "edm": lambda: (sigma * x_0 / sd - alpha * sd * eps) / np.sqrt(sigma**2 + alpha**2 * sd**2),
    }[name]()


def half(x_t, t, *, key):
    """A network as simple as can be."""
    return 0.5 * x_t


def every_weight(log_snr, log_density):
    """A weighting that weighs the first part of its batch by the first of WEIGHTS, and so on."""
    parts = zip(jnp.split(log_snr, len(WEIGHTS)), jnp.split(log_density, len(WEIGHTS)), strict=True)
    return jnp.concatenate([rule(*part) for (rule, _), part in zip(WEIGHTS.values(), parts, strict=True)])


def losses_by_weight(schedule, name, output, t, dtype=jnp.float32):
    """(weights, batch): the losses of a network of parameterization `name` with this output, for every weighting."""
    output, x_0, eps = (jnp.asarray(np.concatenate([value] * len(WEIGHTS)), dtype) for value in (output, X_0, NOISE))
    t = jnp.asarray(np.concatenate([t] * len(WEIGHTS)), jnp.float32)
    return losses.denoising(
        jax.random.split(jax.random.key(0), len(t)),
        lambda x_t, t, *, key: output,
        schedule,
        PARAMETERIZATIONS[name],
        x_0,
        weighting=every_weight,
        time_density=UNIFORM,
        eps=eps,
        t=t,
    ).reshape(len(WEIGHTS), BATCH)


@pytest.mark.parametrize("schedule_name", sorted(SCHEDULES))
def test_one_wrong_eps_has_one_loss_whatever_the_network_puts_out(schedule_name):
    schedule = SCHEDULES[schedule_name]
    alpha, sigma = schedule.alpha(T)[:, None], schedule.sigma(T)[:, None]
    snr, h = (alpha / sigma)[:, 0] ** 2, 1e-6
    slope = (schedule.log_snr(T - h) - schedule.log_snr(T + h)) / (2 * h)
    expected = [weight(snr, slope) * ((WRONG - NOISE) ** 2).mean(1) for _, weight in WEIGHTS.values()]

    # The x_0 that this wrong eps implies for the same x_t.
    x_0_hat = (alpha * X_0 + sigma * NOISE - sigma * WRONG) / alpha
    for name in PARAMETERIZATIONS:
        loss = losses_by_weight(schedule, name, raw_output(name, alpha, sigma, x_0_hat, WRONG), T)
        # float32: output minus target cancels to errors as small as sigma / alpha of x_0, 0.003 for EDM: 1e-7 / 0.003.
        np.testing.assert_allclose(loss, expected, rtol=4e-4, err_msg=name)


@pytest.mark.parametrize("schedule_name", sorted(SCHEDULES))
def test_the_loss_is_finite_from_end_to_end(schedule_name):
    t = np.array([0.0, 1e-7, 1e-4, 1 - 1e-4, 1 - 6e-8, 1.0])
    for name in PARAMETERIZATIONS:
        loss = losses_by_weight(SCHEDULES[schedule_name], name, np.zeros((BATCH, DIM)), t)
        assert np.isfinite(loss).all(), name
        assert np.all(loss >= 0), name


def test_derivatives_of_the_loss_are_finite_from_end_to_end():
    t = jnp.array([0.0, 1e-7, 1e-4, 1 - 1e-4, 1 - 6e-8, 1.0])

    def loss(gain, schedule):
        return sum(
            losses.denoising(
                KEYS,
                lambda x_t, t, *, key: gain * x_t,
                schedule,
                parameterization,
                jnp.asarray(X_0, jnp.float32),
                weighting=weighting.MinSnr(),
                time_density=UNIFORM,
                t=t,
            ).sum()
            for parameterization in (processes.X0(), processes.Score())
        )

    for gradient in jax.tree.leaves(jax.jit(jax.grad(loss, argnums=(0, 1)))(1.0, schedules.LinearBeta())):
        assert np.isfinite(gradient).all()


def test_at_no_noise_a_score_network_pays_for_the_eps_it_leaves_out():
    # sigma = 0: eps_hat = -sigma score = 0 whatever the score, so that the error of eps is eps itself. As large as an
    # image, so that a sum of squares of eps / sigma would pass float32's range.
    eps = np.random.default_rng(0).normal(size=(BATCH, 12_288)).astype(np.float32)
    settings = {"weighting": weighting.Uniform(), "time_density": UNIFORM, "eps": jnp.asarray(eps)}
    loss = losses.denoising(
        KEYS, half, schedules.Cosine(), processes.Score(), jnp.ones(eps.shape), t=jnp.zeros(BATCH), **settings
    )
    np.testing.assert_allclose(loss, (eps.astype(np.float64) ** 2).mean(1), rtol=1e-5)


def mean_and_error(schedule, rule, density, std):
    """The mean loss of the exact denoiser of N(0, std^2) data over eight batches, and its standard error."""

    def eps_of(x_t, t, *, key):
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        return sigma * x_t / (alpha**2 * std**2 + sigma**2)

    rng, keys = np.random.default_rng(0), jax.random.split(jax.random.key(1), (8, 1000))
    means = []
    for batch in keys:
        x_0, eps = (jnp.asarray(scale * rng.normal(size=(1000, 16)), jnp.float32) for scale in (std, 1))
        t = time_sampling.Stratified(density).sample(batch, schedule)
        settings = {"weighting": rule, "time_density": density, "eps": eps, "t": t}
        means.append(losses.denoising(batch, eps_of, schedule, processes.Eps(), x_0, **settings).mean())
    return np.mean(means), np.std(means, ddof=1) / np.sqrt(8)


@pytest.mark.parametrize("schedule_name", ["cosine", "linear_beta", "edm"])
def test_the_variational_loss_of_gaussian_data_is_the_information_gained(schedule_name):
    """VDM (arXiv:2107.00630, eq. 17): half the integral over log_snr of E|eps - eps_hat|^2 = SNR s^2 / (1 + SNR s^2).

    That integral is log(1 + SNR s^2) / 2 between the ends.
    """
    schedule, std = SCHEDULES[schedule_name], 0.8
    most, least = (np.exp(schedule.log_snr(t)) for t in (0.01, 0.99))
    expected = (np.log1p(most * std**2) - np.log1p(least * std**2)) / 2
    mean, error = mean_and_error(schedule, weighting.Variational(), time_sampling.Uniform(0.01, 0.99), std)
    # Five standard errors, as the error is itself estimated from eight numbers.
    assert error < 0.02 * expected
    assert abs(mean - expected) < 5 * error


@pytest.mark.parametrize(
    "density",
    [
        time_sampling.Uniform(),
        time_sampling.LogitNormal(0.0, 1.0),
        time_sampling.LogNormalSigma(0.5, 2.0),
        time_sampling.DiscreteUniform(1000),
    ],
)
def test_a_loss_per_unit_of_log_snr_does_not_depend_on_the_density_of_times(density):
    """Half the integral of sigmoid(-log_snr) SNR s^2 / (1 + SNR s^2) over log_snr, by the trapezoidal rule."""
    schedule, std, log_snr = schedules.Flow(), 1.5, np.linspace(-40, 40, 8001)
    integrand = 0.5 / (1 + np.exp(log_snr)) / (1 + np.exp(-log_snr) / std**2)
    expected = ((integrand[1:] + integrand[:-1]) / 2 * np.diff(log_snr)).sum()
    mean, error = mean_and_error(schedule, weighting.Sigmoid(), density, std)
    assert error < 0.01 * expected
    # 1e-3: the steps of DiscreteUniform.
    assert abs(mean - expected) < 5 * error + 1e-3


def run(keys, x_0, predict=half, **options):
    x_0, settings = jnp.asarray(x_0, jnp.float32), {"weighting": weighting.MinSnr(), "time_density": UNIFORM}
    return losses.denoising(keys, predict, schedules.Cosine(), processes.V(), x_0, **settings, **options)


def test_a_sample_s_loss_depends_on_its_own_key_alone():
    compiled = jax.jit(run)
    together = compiled(KEYS, X_0)
    np.testing.assert_allclose(compiled(KEYS[2:3], X_0[2:3]), together[2:3], rtol=1e-6)
    np.testing.assert_allclose(compiled(KEYS[::-1], X_0[::-1]), together[::-1], rtol=1e-6)
    assert np.unique(np.asarray(compiled(KEYS, np.ones((BATCH, DIM))))).size == BATCH


def test_noise_and_times_given_are_the_ones_used():
    seen = {}

    def predict(x_t, t, *, key):
        seen.update(x_t=x_t, t=t, key=key)
        return jnp.zeros_like(x_t)

    eps, t = jnp.asarray(NOISE, jnp.float32), jnp.asarray(T, jnp.float32)
    loss = run(KEYS, X_0, predict, eps=eps, t=t)
    np.testing.assert_array_equal(seen["t"], t)
    mixed = np.cos(np.pi / 2 * T)[:, None] * X_0 + np.sin(np.pi / 2 * T)[:, None] * NOISE
    np.testing.assert_allclose(seen["x_t"], mixed, atol=1e-6)
    assert seen["key"].shape == KEYS.shape
    np.testing.assert_array_equal(run(KEYS[::-1], X_0, predict, eps=eps, t=t), loss)


def test_time_noise_and_dropout_are_drawn_independently():
    num = 4000

    @jax.jit
    def drawn(keys):
        seen = {}

        def predict(x_t, t, *, key):
            seen.update(t=t, noise=x_t[:, 0] / jnp.sin(jnp.pi / 2 * t), dropout=jax.vmap(jax.random.uniform)(key))
            return x_t

        run(keys, jnp.zeros((num, 1)), predict)
        return seen["t"], seen["noise"], seen["dropout"]

    t, noise, dropout = (np.asarray(value) for value in drawn(jax.random.split(jax.random.key(1), num)))
    # Correlations of independent numbers: standard error 1 / sqrt(n).
    correlations = np.corrcoef([t, noise, dropout]) - np.eye(3)
    assert np.abs(correlations).max() < 4 / np.sqrt(num)
    assert abs(noise.std() - 1) < 4 / np.sqrt(2 * num)


def test_jit_gives_what_eager_gives():
    np.testing.assert_allclose(jax.jit(run)(KEYS, X_0), run(KEYS, X_0), rtol=1e-5)


@pytest.mark.parametrize("name", sorted(PARAMETERIZATIONS))
def test_a_teacher_is_what_is_learned(name):
    """A network that says what the teacher says has no error, and one that says eps pays for the difference."""
    schedule, parameterization = schedules.Cosine(), PARAMETERIZATIONS[name]
    teacher = denoisers.empirical(schedule, jnp.asarray(X_0, jnp.float32))

    def pupil(x_t, t, *, key):
        x_0, eps, _ = teacher(x_t, t)
        return parameterization.target(schedule, x_0, eps, t)

    settings = {"weighting": weighting.Velocity(), "time_density": UNIFORM, "t": jnp.asarray(T, jnp.float32)}
    taught = losses.denoising(
        KEYS, pupil, schedule, parameterization, jnp.asarray(X_0, jnp.float32), teacher=teacher, **settings
    )
    untaught = losses.denoising(KEYS, pupil, schedule, parameterization, jnp.asarray(X_0, jnp.float32), **settings)
    np.testing.assert_array_equal(taught, np.zeros(BATCH))
    assert float(untaught.max()) > 0.01


def test_a_teacher_has_the_same_minimum_with_less_noise():
    """Stable targets (arXiv:2302.00670): the gradient's mean is that of single pairs, its variance is not."""
    schedule, data = schedules.Cosine(), np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)
    teacher, t = denoisers.empirical(schedule, jnp.asarray(data)), jnp.full(4000, 0.7)

    def gradients(teacher):
        def loss(gain, key, x_0):
            return losses.denoising(
                key[None],
                lambda x_t, t, *, key: gain * x_t,
                schedule,
                processes.V(),
                x_0[None],
                weighting=weighting.Velocity(),
                time_density=UNIFORM,
                t=t[:1],
                teacher=teacher,
            )[0]

        keys = jax.random.split(jax.random.key(0), len(t))
        x_0 = jnp.asarray(data[np.arange(len(t)) % len(data)])
        return np.asarray(jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))(0.3, keys, x_0), np.float64)

    pairs, stable = gradients(None), gradients(teacher)
    standard_error = (pairs - stable).std() / len(t) ** 0.5
    assert abs((pairs - stable).mean()) < 4 * standard_error
    assert stable.var() < 0.6 * pairs.var()


@pytest.mark.parametrize("schedule_name", sorted(SCHEDULES))
def test_losses_of_half_precision_data_are_those_in_float32(schedule_name):
    """Everywhere from end to end and under every weight; the network answers in half precision too."""
    schedule, t = SCHEDULES[schedule_name], np.array([0.0, 1e-4, 0.3, 0.7, 1 - 1e-4, 1.0])
    for name in PARAMETERIZATIONS:
        narrow, expected = (
            losses_by_weight(schedule, name, np.zeros((BATCH, DIM)), t, dtype) for dtype in (jnp.float16, jnp.float32)
        )
        assert narrow.dtype == jnp.float32 and np.isfinite(narrow).all(), name
        np.testing.assert_allclose(narrow, expected, rtol=0.01, err_msg=name)  # data are rounded by 0.0005


def test_integers_and_legacy_keys_are_refused_in_one_line(unchecked):
    settings = {"weighting": weighting.MinSnr(), "time_density": UNIFORM}
    arguments = (half, schedules.Cosine(), processes.V())
    with pytest.raises(TypeError, match=r"expected floating-point samples, .* got an array of uint8"):
        losses.denoising(KEYS, *arguments, jnp.ones((BATCH, DIM), jnp.uint8), **settings)
    legacy = jax.random.split(jax.random.PRNGKey(0), BATCH)
    with pytest.raises(TypeError, match="expected typed keys, one per sample"):
        losses.denoising(legacy, *arguments, jnp.asarray(X_0, jnp.float32), **settings)
