"""Every file of configs/, taken as it is to where its data would be read, and one tiny step of each kind of model."""

import importlib
import pathlib
import re

import jax
import numpy as np
import pytest

from diffax import build, build_conditions, build_data, build_sampler, build_training, data, processes, resolve
from diffax import config as settings
from diffax.runs import DataDescription, Model, Program
from diffax.typing import Schedule

ROOT = pathlib.Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "__init__")


def config_of(name, **overrides):
    config = importlib.import_module(f"configs.{name}").get_config()
    return resolve.resolve(resolve.override(config, overrides.items()))


def stand_in(config):
    """Data of the right shape for configs whose own is not here."""
    if config.data.name in data.prepare.ARCHIVES:
        channels = 3 if config.data.name == "cifar10" else 1
        images, labels = np.zeros((4, 32, 32, channels), np.uint8), np.zeros(4, np.int32)
        labelled = {"labels": labels, "num_classes": 10} if config.data.only_label is None else {}
        black = data.dataset.Dataset(name="black", examples=images, num_levels=256, **labelled)
        return build_conditions.attach(config, black)
    return build_data.dataset(config, "train")


def described(config, examples, monkeypatch):
    """The description of examples, without the eigenvectors of 3,072 numbers, which take half a minute."""
    if examples.shape == (32, 32, 3):
        identity = processes.Moments(np.zeros(examples.shape), np.ones(3072), np.eye(3072))
        monkeypatch.setattr(processes, "moments", lambda x: identity)
    return DataDescription.of(config, examples)


@pytest.mark.parametrize("name", NAMES)
def test_config_builds(name, monkeypatch):
    config = config_of(name)
    assert isinstance(build.schedule(config), Schedule)
    model = Model.build(config, described(config, stand_in(config), monkeypatch))
    table = model.sampler_table()
    # Heun's method evaluates twice a step, but for the last one, down to data.
    evaluations = {"heun": 2 * config.sampler.num_steps - 1}.get(config.sampler.name, config.sampler.num_steps)
    assert table.num_evaluations == evaluations and np.isfinite(table.times).all()
    params = jax.eval_shape(model.init_params, jax.random.key(0))
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))
    if name == "cifar_ddpm":
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 35_746_307


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_a_lab_note_and_flat(name):
    """Its docstring gives the command, the cost and the score, and it inherits from no other config."""
    source = (ROOT / "configs" / f"{name}.py").read_text()
    note = importlib.import_module(f"configs.{name}").__doc__
    assert f"python launch.py --config configs/{name}.py" in note
    assert "Cost:" in note and re.search(r"[Ss]core|FID", note)
    assert "from configs" not in source


def test_a_config_called_ddpm_is_ddpm():
    """arXiv:2006.11239: noise prediction, 1,000 linear steps, uniform weights and times, Adam, ancestral sampling."""
    for name in ("digits_ddpm", "cifar_ddpm"):
        config = config_of(name)
        assert config.parameterization.name == "eps" and config.loss.weighting.name == "uniform"
        assert config.schedule.to_dict() | {"zero_terminal_snr": False} == {
            "name": "discrete_linear",
            "num_steps": 1000,
            "beta_start": 1e-4,
            "beta_end": 0.02,
            "zero_terminal_snr": False,
        }
        assert config.loss.time_density.to_dict() == {"name": "discrete_uniform", "num_steps": 1000}
        assert not config.loss.stratified and not config.loss.stable_targets
        assert config.optimizer.name == "adam" and config.optimizer.decay.name == "constant"
        assert config.ema.to_dict() == {"constant": {"name": "constant", "decay": 0.9999}}
        assert config.sampler.name == "ddpm" and config.sampler.num_steps == 1000
        assert config.sampler.guidance.name == "none" and config.sampler.epsilon_scale == 1


@pytest.mark.parametrize("name", NAMES)
def test_one_tiny_step_of_every_config(name, monkeypatch):
    """The config's own mathematics with a network and a batch small enough to compile in seconds."""
    small = {"model.channels": "8", "model.channel_multipliers": "(1,)", "model.num_res_blocks": "0"}
    small |= {"model.attention_resolutions": "()", "model.groups": "4"}
    own = config_of(name)
    small = small if own.model.name == "unet" else {}
    if own.loss.features.name == "classifier":
        small |= {"loss.features.num_steps": "1"}
    config = config_of(name, **{"train.batch_size": "4"} | small)
    examples = stand_in(config)
    model = Model.build(config, described(config, examples, monkeypatch))
    program = Program.build(model, examples, build_training.mesh(config, jax.devices()[:1]))
    state, metrics = program.step(program.init_state(), next(build_data.batches(config, examples, 0)))
    assert np.isfinite(float(metrics["loss"])) and float(metrics["grad_norm"]) > 0
    assert int(state.step) == 1


def test_a_schedule_that_ends_at_sigma_min_is_sampled_down_to_zero():
    config = settings.default()
    config.schedule = settings.choice("variance_exploding", sigma_min=0.002, sigma_max=80.0)
    config.sampler.grid = settings.choice("karras")
    config.sampler.num_steps = 18
    config = resolve.resolve(config)
    table = build_sampler.sampler_table(config, build.schedule(config), processes.Edm())
    assert table.num_evaluations == 18 and table.b[-1, 0] == 1 and table.e[-1, 0] == 0
    # EDM's sigmas (arXiv:2206.00364, eq. 5), in closed form.
    expected = (80 ** (1 / 7) + np.arange(18) / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(build.schedule(config).sigma(table.times), expected, rtol=1e-9)


def test_stable_targets_of_more_data_than_memory_are_refused():
    config = config_of("digits", parameterization="edm")
    images = np.zeros((20_000, 32, 32, 3), np.uint8)
    photos = data.dataset.Dataset(name="photos", examples=images, num_levels=256)
    model = Model.build(config, DataDescription.of(config, photos))
    with pytest.raises(ValueError, match=r"32 x 20,000 examples of 3072 numbers are more than 250,000,000: set loss"):
        build_training.reference_data(config, model.network, photos)


def test_stable_targets_are_an_argument_of_the_step_and_no_constant_of_it():
    config = config_of("digits", **{"model.channels": "8", "model.channel_multipliers": "(1,)", "model.groups": "4"})
    examples = build_data.dataset(config, "train")
    model = Model.build(config, DataDescription.of(config, examples))
    program = Program.build(model, examples, build_training.mesh(config, jax.devices()[:1]))
    assert program.hyperparameters.reference.shape == (1500, 8, 8, 1)
    batch = next(build_data.batches(config, examples, 0))
    constants = jax.make_jaxpr(program.step)(program.state, batch).consts
    assert sum(getattr(constant, "size", 0) for constant in constants) < 1500
