"""The configs called EDM are EDM (arXiv:2206.00364): loss, sampler, ramp and average against the paper, in float64."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import build, build_conditions, build_data, build_sampler, build_training, data, losses, resolve, samplers
from diffax.conditions import Classes, Vector
from diffax.runs import DataDescription, Model

SIGMA_DATA = {"cifar_edm": 0.5, "digits_edm": 0.75}
NAMES = sorted(SIGMA_DATA)


def config_of(name):
    return resolve.resolve(importlib.import_module(f"configs.{name}").get_config())


def preconditioned(sigma, sigma_data):
    """(c_skip, c_out, c_in, c_noise) of table 1."""
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / np.sqrt(total), 1 / np.sqrt(total), np.log(sigma) / 4


def raw(xp, x, noise):
    """F: any function of its two inputs."""
    return xp.sin(2 * x) + noise * x


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_the_papers(name):
    """lambda(sigma) |D(y + n; sigma) - y|^2 with log sigma ~ N(-1.2, 1.2^2) (eq. 2, 7 and table 1)."""
    config, sd = config_of(name), SIGMA_DATA[name]
    schedule, parameterization = build.schedule(config), build.parameterization(config, None)
    time_input, rng, num = build.time_input(config, schedule), np.random.default_rng(0), 4000
    x_0, eps = rng.uniform(-1, 1, (num, 5)), rng.standard_normal((num, 5))
    keys = jax.random.split(jax.random.key(0), num)
    t = losses.draw_times(keys, schedule, build.time_density(config))
    log_sigma = -np.asarray(schedule.log_snr(np.asarray(t, float))) / 2

    def predict(x_t, t, *, key):
        return raw(jnp, parameterization.network_input(schedule, x_t, t), time_input(schedule, t)[:, None])

    got = losses.denoising(
        keys,
        predict,
        schedule,
        parameterization,
        jnp.asarray(x_0, jnp.float32),
        weighting=build.weighting(config),
        time_density=build.time_density(config),
        eps=jnp.asarray(eps, jnp.float32),
        t=t,
    )
    sigma = np.exp(log_sigma)[:, None]
    skip, out, scale, noise = preconditioned(sigma, sd)
    x = x_0 + sigma * eps
    denoised = skip * x + out * raw(np, scale * x, noise)
    weight = (sigma**2 + sd**2) / (sigma * sd) ** 2
    np.testing.assert_allclose(got, (weight * (denoised - x_0) ** 2).mean(1), rtol=2e-4, atol=1e-6)
    assert abs(log_sigma.mean() + 1.2) < 4 * 1.2 / num**0.5
    assert abs(log_sigma.std() - 1.2) < 4 * 1.2 / (2 * num) ** 0.5


@pytest.mark.parametrize("name", NAMES)
def test_the_sampler_is_algorithm_1_with_35_evaluations(name):
    config = config_of(name)
    schedule, sd = build.schedule(config), 0.6

    def denoised(x, sigma):  # of Gaussian data with mean 0.3
        return 0.3 + sd**2 / (sd**2 + sigma**2) * (x - 0.3)

    levels = (80 ** (1 / 7) + np.arange(18) / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    start = x = np.array([70.0, -3.0]) * 1.0
    calls = 0
    for now, after in zip(levels, [*levels[1:], 0.0], strict=True):
        slope, calls = (x - denoised(x, now)) / now, calls + 1
        ahead = x + (after - now) * slope
        if after > 0:
            slope, calls = (slope + (ahead - denoised(ahead, after)) / after) / 2, calls + 1
        x = x + (after - now) * slope

    def denoiser(x, t):
        sigma = float(schedule.sigma(np.float64(t)))
        x_0 = denoised(x, sigma)
        return x_0, (x - x_0) / sigma

    table = build_sampler.sampler_table(config, schedule, build.parameterization(config, None))
    assert table.num_evaluations == calls == 35 and float(table.prior_std) == pytest.approx(80)
    np.testing.assert_allclose(samplers.reference_run(denoiser, table, start, None)[-1], x, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_ramp_takes_a_twentieth_of_training_and_the_average_as_long(name):
    """Table 7 and the training loop: 10 of 200 million images; half-life min(500,000, 0.05 n batch) images."""
    config = config_of(name)
    batch, total = config.train.batch_size, config.train.num_steps
    shape, ramp = build_training.learning_rate_shape(config), config.optimizer.warmup_steps
    assert ramp == pytest.approx(total / 20, rel=1e-4)
    rates = [float(shape(jnp.asarray(n))) for n in (ramp // 2 - 1, ramp, total - 1)]
    assert rates == pytest.approx([0.5, 1, 1], abs=0.01)
    assert config.optimizer.name == "adam" and config.optimizer.learning_rate == 1e-3
    assert config.optimizer.max_grad_norm is None and config.optimizer.decay.name == "constant"
    (rule,) = build_training.averagings(config).values()
    for n in (1, 40, total // 2, total):
        expected = 0.5 ** (batch / min(500_000, 0.05 * n * batch))
        assert 1 - float(rule.share(jnp.asarray(n), batch)) == pytest.approx(expected, rel=1e-5)


def test_the_network_is_told_how_an_image_was_augmented_and_draws_images_that_were_not():
    config = config_of("cifar_edm")
    images, labels = np.full((64, 32, 32, 3), 200, np.uint8), np.arange(64, dtype=np.int32) % 10
    examples = build_conditions.attach(
        config, data.dataset.Dataset(name="grey", examples=images, labels=labels, num_classes=10, num_levels=256)
    )
    model = Model.build(config, DataDescription.of(config, examples))
    assert dict(model.network.conditions) == {"augmentation": Vector(9), "label": Classes(10)}
    batch = {"x": jnp.asarray(images[:64]), "label": jnp.asarray(labels)}
    keys = jax.random.split(jax.random.key(0), 64)
    training, held_out = (build_data.preprocess(config, examples, augment=on)(batch, keys) for on in (True, False))
    assert training["augmentation"].shape == (64, 9) and float(jnp.abs(training["augmentation"]).max()) > 0
    assert "augmentation" not in held_out and config.conditions.label.drop == 0
