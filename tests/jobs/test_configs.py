"""Every file of configs/, taken as it is to where its data would be read, and one tiny step of each kind of model."""

import importlib
import pathlib

import jax
import numpy as np
import pytest

from diffax import build, data, networks, processes, training
from diffax import config as settings
from diffax.typing import Schedule

ROOT = pathlib.Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "__init__")


def config_of(name):
    return importlib.import_module(f"configs.{name}").get_config()


def stand_in(config):
    """Data of the right shape for configs whose own is not here."""
    if config.data.name in data.prepare.ARCHIVES:
        channels = 3 if config.data.name == "cifar10" else 1
        images, labels = np.zeros((4, 32, 32, channels), np.uint8), np.zeros(4, np.int32)
        labelled = {"labels": labels, "num_classes": 10} if config.data.only_label is None else {}
        return data.dataset.Dataset(name="black", examples=images, num_levels=256, **labelled)
    return build.dataset(config, "train")


@pytest.mark.parametrize("name", NAMES)
def test_config_builds(name):
    config = config_of(name)
    assert importlib.import_module(f"configs.{name}").__doc__.count("python launch.py") >= 1
    assert isinstance(build.schedule(config), Schedule)
    dataset = stand_in(config)
    table = build.sampler_table(config, build.parameterization(config, dataset))
    assert table.num_evaluations == config.sampler.num_steps and np.isfinite(table.times).all()
    module = build.network(config, dataset)
    params = jax.eval_shape(lambda key: networks.init_params(module, key, dataset.shape), jax.random.key(0))
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))
    if name == "cifar_ddpm":
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 35_746_307


@pytest.mark.parametrize("name", NAMES)
def test_one_tiny_step_of_every_config(name):
    """The config's own mathematics with a network and a batch small enough to compile in seconds."""
    config, batch_size = config_of(name), 4
    if config.model.name == "unet":
        config.model.update(channels=8, channel_multipliers=(1,), num_res_blocks=1, attention_resolutions=(), groups=4)
    dataset = stand_in(config)
    module, optimizer = build.network(config, dataset), build.optimizer(config)

    numbers = build.numbers(config, dataset)
    view = build.view(config, dataset)
    loss, shape = build.loss(config, module, dataset), build.learning_rate_shape(config)
    step = training.make_train_step(loss, optimizer, shape, view=view)
    state = jax.jit(lambda: build.init_state(config, module, dataset, numbers))()
    state, metrics = jax.jit(step)(state, data.pipeline.Pipeline(dataset, batch_size).batch(0))
    assert np.isfinite(float(metrics["loss"])) and float(metrics["grad_norm"]) > 0
    assert int(state.step) == 1


def _parameterized(config, name):
    config.parameterization = {"name": name}
    return config


def test_every_choice_can_be_built():
    """Each name of the tables of build.py, on a config that suits it."""
    config, spiral = settings.default(), data.toy.load("swiss_roll", "train")
    for name in build.SCHEDULES:
        config.schedule = {"name": name}
        schedule = build.schedule(config)
        assert float(schedule.alpha(np.float64(0.0))) == pytest.approx(1.0)
    config.schedule = {"name": "flow", "shift": -2.0}
    assert type(build.schedule(config)).__name__ == "Shifted"
    config.schedule = {"name": "discrete_linear", "zero_terminal_snr": True}
    assert float(build.schedule(config).alpha(np.float64(1.0))) == 0
    for name in build.WEIGHTINGS:
        config.loss.weighting = {"name": name}
        build.numbers(config, spiral)
    # The first and the last of 50 steps touch pure noise and pure data: one call, whatever the method.
    twice = {"dpm_solver", "heun", "midpoint", "edm"}
    evaluations = {name: 98 if name in twice else 51 if name == "pndm" else 50 for name in build.SAMPLERS}
    for name in build.SAMPLERS:
        config.sampler.name = name
        assert build.sampler_table(config, processes.V()).num_evaluations == evaluations[name]
    types = {type(build.parameterization(_parameterized(config, name), spiral)) for name in build.PARAMETERIZATIONS}
    assert len(types) == len(build.PARAMETERIZATIONS)
    config.loss.weighting = {"name": "min_snr", "gamma": 3.0}
    assert build.numbers(config, spiral).weighting.gamma == 3.0
    for name in build.TIME_DENSITIES:
        config.loss.time_density = {"name": name}
        build.numbers(config, spiral)
    with pytest.raises(ValueError, match=r"loss\.weighting 'min_snr' has no option gama, but gamma"):
        config.loss.weighting = {"name": "min_snr", "gama": 3.0}
        build.numbers(config, spiral)


def test_a_schedule_that_ends_at_sigma_min_is_sampled_down_to_zero():
    config = settings.default()
    config.schedule = {"name": "variance_exploding", "sigma_min": 0.002, "sigma_max": 80.0}
    config.sampler.grid = "karras"
    config.sampler.num_steps = 18
    table = build.sampler_table(config, processes.Edm())
    assert table.num_evaluations == 18 and table.b[-1, 0] == 1 and table.e[-1, 0] == 0
    # EDM's sigmas (arXiv:2206.00364, eq. 5), in closed form.
    expected = (80 ** (1 / 7) + np.arange(18) / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(build.schedule(config).sigma(table.times), expected, rtol=1e-9)


def test_stable_targets_of_more_data_than_memory_are_refused():
    config = config_of("digits_ddpm")
    images = np.zeros((20_000, 32, 32, 3), np.uint8)
    photos = data.dataset.Dataset(name="photos", examples=images, num_levels=256)
    with pytest.raises(ValueError, match=r"32 x 20,000 examples of 3072 numbers are more than 250,000,000: set loss"):
        build.loss(config, build.network(config, photos), photos)
