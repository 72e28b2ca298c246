"""Every choice and every option of it, set as the command line sets them over a config that chose otherwise."""

import importlib

import jax
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from diffax import build, build_data, build_sampler, build_training, choices, config_file, resolve, samplers, training
from diffax import config as settings
from diffax.runs import DataDescription, Model, Program

DIGITS = importlib.import_module("configs.digits").get_config
SLOTS = [*build.SLOTS.items(), *((f"{group}.one", slot) for group, (slot, _) in build.GROUPS.items())]
EVERY_NAME = [(path, name) for path, slot in SLOTS for name in slot.table]


def at(config, path):
    for key in path.split("."):
        config = config[key]
    return config


def other_than(option):
    """A value of an option's type that is not its default, and its text."""
    default = option.default
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if isinstance(default, float):
        return default / 2 + 0.25
    if isinstance(default, str):
        return f"not_{default}"
    if isinstance(default, tuple):
        return (0.25, 0.5)
    if default is choices.REQUIRED and "Sequence" in str(option.annotation):
        return (0.25, 0.5)
    if default is None:
        return True if "bool" in str(option.annotation) else 3
    return 0.75


def changed(overrides, base=DIGITS):
    return resolve.resolve(resolve.override(base(), overrides))


@pytest.mark.parametrize(("path", "name"), EVERY_NAME)
def test_every_option_of_every_choice_can_be_set(path, name):
    slot = resolve.slot_of(path)
    known = choices.options(choices.lookup(path, name, slot), slot)
    values = {key: other_than(option) for key, option in known.items() if key not in slot.nested}
    # Options before the name: the order does not matter.
    overrides = [(f"{path}.{key}", str(value)) for key, value in values.items()] + [(f"{path}.name", name)]
    if name.startswith("shifted"):
        overrides.append((f"{path}.base", "flow"))
    chosen = at(changed(overrides), path)
    assert chosen.name == name
    for key, value in values.items():
        got = chosen[key]
        assert str(got) == str(value) if isinstance(got, str | bool) else got == pytest.approx(value), key
    before = at(resolve.resolve(DIGITS()), path) if not path.endswith(".one") else {}
    beside = {"every"} if path.startswith("evaluators") else set()
    beside |= {"drop"} if path.startswith("conditions") else set()
    if path in build.SLOTS:
        beside = set(choices.settings_beside(at(settings.default(), path), slot))
    # What the former choice had, and this one does not, falls away; what stands beside it stays.
    assert set(chosen) == {"name", *known, *beside}
    assert all(chosen[key] == before[key] for key in beside if key in before and key not in values)


def test_the_issue_of_names_and_options():
    """The commands that a person types."""
    config = changed([("loss.weighting.name", "min_snr"), ("loss.weighting.gamma", "5")])
    assert config.loss.weighting.to_dict() == {"name": "min_snr", "gamma": 5.0}
    assert changed([("loss.weighting", "min_snr")]).loss.weighting.gamma == 5.0
    assert changed([("optimizer.max_grad_norm", "None")]).optimizer.max_grad_norm is None
    assert changed([("sampler.grid.name", "karras"), ("sampler.grid.rho", "5")]).sampler.num_steps == 50
    assert changed([("model.time_features.name", "fourier"), ("model.time_features.std", "16")]).model.channels == 32
    assert changed([("sampler.name", "edm"), ("sampler.churn_range", "(0.01, inf)")]).sampler.churn_range[1] == np.inf
    restarts = changed([("sampler.name", "restart"), ("sampler.restarts", "((0.1, 0.3, 5, 1),)")]).sampler.restarts
    assert restarts == ((0.1, 0.3, 5, 1),)
    averages = changed([("ema.power.length", "0.05"), ("ema.fast.name", "constant"), ("ema.fast.decay", "0.9")]).ema
    assert {key: entry.name for key, entry in averages.items()} == {
        "constant": "constant",
        "fast": "constant",
        "power": "power",
    }
    assert "constant" not in changed([("ema.constant", "None"), ("ema.power.length", "0.05")]).ema
    assert changed([("evaluators.sample_metrics.every", "7")]).evaluators.sample_metrics.num_samples == 2000
    assert changed([("train.num_steps", "1e4")]).train.num_steps == 10_000


def test_sigma_data_stands_once():
    assert resolve.resolve(DIGITS()).loss.weighting.sigma_data == 0.54
    assert changed([("parameterization.sigma_data", "0.6")]).loss.weighting.sigma_data == 0.6
    config = changed([("parameterization.sigma_data", "0.6"), ("loss.weighting.sigma_data", "0.7")])
    assert (config.parameterization.sigma_data, config.loss.weighting.sigma_data) == (0.6, 0.7)
    assert changed([("parameterization", "v")]).loss.weighting.sigma_data == 0.5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"loss.weighting.gama": "3"}, "loss.weighting 'edm' has no option gama, but sigma_data"),
        ({"loss.weighting.name": "min_snr", "loss.weighting.gama": "3"}, "no option gama, but gamma. Did you mean"),
        ({"loss.weighting.name": "min_snr", "loss.weighting.sigma_data": "1"}, "no option sigma_data, but gamma"),
        (
            {"num_steps": "3"},
            "there is no setting num_steps. Did you mean likelihood.num_steps or sampler.num_steps or train.num_steps?",
        ),
        ({"train.num_stepz": "3"}, 'there is no setting train.num_stepz. Did you mean "num_steps"?'),
        ({"train.num_steps.x": "3"}, "there is no setting train.num_steps.x: train.num_steps is a single value"),
        ({"nothing.at.all": "3"}, "there is no setting nothing"),
        ({"train.num_steps": "1.5"}, "train.num_steps must be a whole number, got '1.5'"),
        ({"train.num_steps": "None"}, "train.num_steps must be a whole number, got 'None'"),
        ({"data.pad": "True"}, "data.pad must be a whole number, got 'True'"),
        ({"loss.stratified": "1"}, "loss.stratified must be True or False, got '1'"),
        ({"data.workers": "two"}, "data.workers must be a whole number or None, got 'two'"),
        ({"model.channel_multipliers": "2"}, "model.channel_multipliers must be a tuple, as (1, 2), got '2'"),
        ({"optimizer.max_grad_norm": "much"}, "optimizer.max_grad_norm must be a number or None, got 'much'"),
        ({"schedule": "shifted"}, "schedule 'shifted' needs shift: set schedule.shift"),
        ({"sampler.guidance": "classifier_free"}, "sampler.guidance 'classifier_free' needs scale"),
        ({"ema.mean.decay": "0.5"}, "ema.mean.name must be one of constant, half_life, power, or module:object"),
        ({"model": "no_such_module:Net"}, "there is no module 'no_such_module' beside the config file"),
        ({"model": "tests.tiny:Nothing"}, "tests.tiny has no 'Nothing', but"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(overrides, message):
    with pytest.raises(ValueError) as error:
        changed(overrides.items())
    assert message in str(error.value) and "\n" not in str(error.value)


def test_resolving_is_idempotent_and_reads_back_from_json():
    import json

    for base in (DIGITS, settings.default):
        once = resolve.resolve(base())
        assert resolve.resolve(once) == once
        back = ConfigDict(config_file.tuples(json.loads(json.dumps(once.to_dict()))))
        assert resolve.resolve(back) == once


def test_names_of_settings_beside_a_choice_are_never_those_of_an_option():
    for path, slot in build.SLOTS.items():
        beside = choices.settings_beside(at(settings.default(), path), slot)
        for name in slot.table:
            assert not set(beside) & set(choices.options(choices.lookup(path, name, slot), slot)), (path, name)


def with_network(schedule, parameterization, **more):
    overrides = {
        "model": "tests.tiny:Network",
        "model.time_input": "log_snr",
        "data": "two_moons",
        "data.num_points": "64",
        "schedule": schedule,
        "parameterization": parameterization,
        "loss.weighting": "uniform",
        "train.batch_size": "4",
        "loss.stable_targets": "False",
        "optimizer": "adam",
        "sampler.num_steps": "4",
        "sampler.epsilon_scale": "1",
    }
    return changed((overrides | more).items(), settings.default)


@pytest.mark.parametrize("schedule", build.SCHEDULES)
def test_a_tiny_step_of_every_schedule_with_every_parameterization(schedule):
    """A step of training by one parameterization, and loss and gradient by all others in one program."""
    more = {
        "shifted": {"schedule.shift": "-1.4"},
        "shifted_for_resolution": {"schedule.side": "128"},
        "learned": {"loss.weighting": "variational"},
    }.get(schedule, {})
    # Two backward passes to compile: one parameterization that divides, and one that does not.
    names, models = ("eps", "edm") if schedule == "learned" else tuple(build.PARAMETERIZATIONS), []
    for name in names:
        config = with_network(schedule, name, **more)
        examples = build_data.dataset(config, "train")
        description = DataDescription.of(config, examples)
        is_zero = float(build.schedule(config).alpha(np.float64(1.0))) == 0
        if name in ("eps", "score") and is_zero:
            with pytest.raises(ValueError, match=r"divides by alpha, which is 0 at t = 1: use V"):
                Model.build(config, description)
        else:
            models.append(Model.build(config, description))
    # The gradient of what is learned beside the network is taken by the step alone.
    stepped = models if schedule == "learned" else models[:1]
    for model in stepped:
        with jax.numpy_dtype_promotion("standard"):
            program = Program.build(model, examples, build_training.mesh(model.config, jax.devices()[:1]))
            batch = next(build_data.batches(model.config, examples, 0))
            state, metrics = program.step(program.init_state(), batch)
        assert np.isfinite(float(metrics["loss"])) and float(metrics["grad_norm"]) > 0 and int(state.step) == 1
    for loss, norm in losses_and_gradient_norms(models[len(stepped) :], examples.batch(np.arange(4))):
        assert np.isfinite(loss) and 0 < norm < np.inf


def losses_and_gradient_norms(models, batch):
    keys = jax.random.split(jax.random.key(0), len(batch["x"]))

    def one(model, batch, params, hyperparameters):
        def loss(params):
            return model.loss(params, hyperparameters, batch, keys).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        return value, optax.tree.norm(gradient)

    given = [(model.init_params(jax.random.key(1)), model.hyperparameters) for model in models]
    with jax.numpy_dtype_promotion("standard"):
        return jax.jit(
            lambda batch, given: [one(model, batch, *rest) for model, rest in zip(models, given, strict=True)]
        )(batch, given)


@pytest.mark.parametrize("name", build_sampler.SAMPLERS)
def test_every_sampler_by_name_on_every_grid(name):
    for grid in build_sampler.GRIDS:
        schedule = "discrete_linear" if grid == "discrete" else "variance_exploding"
        more = {"sampler": name, "sampler.grid": grid, "sampler.num_steps": "8"}
        config = with_network(schedule, "edm", **more)
        table = build_sampler.sampler_table(config, build.schedule(config), build.parameterization(config, None))
        assert np.isfinite(table.times).all() and table.num_evaluations >= 8
        if table.c_large is None and grid != "discrete":
            # Down to data: the last row gives the predicted x_0, here 5.
            states = samplers.reference_run(lambda x, t, *s: (0 * x + 5, 0 * x), table, np.ones(3), None)
            np.testing.assert_allclose(states[-1], 5, rtol=1e-12)


@pytest.mark.parametrize("name", build_training.OPTIMIZERS)
def test_every_optimizer_by_name(name):
    config = changed(
        [("optimizer.name", name), ("optimizer.weight_decay", "0.1"), ("optimizer.moment_dtype", "bfloat16")]
    )
    params = {"block": {"kernel": jax.numpy.ones((2, 2)), "bias": jax.numpy.ones(2)}}
    with jax.numpy_dtype_promotion("standard"):
        optimizer = build_training.optimizer(config)
        updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(updates))


def test_parts_of_ones_own_fulfil_a_protocol_and_nothing_more():
    config = with_network(
        "tests.tiny:Line", "v", **{"loss.weighting": "tests.tiny:constant_weighting", "loss.weighting.weight": "3"}
    )
    config = resolve.resolve(resolve.override(config, [("data", "tests.tiny:points"), ("data.num", "60")]))
    assert config.data.num == 60 and config.loss.weighting.weight == 3.0
    examples = build_data.dataset(config, "train")
    model = Model.build(config, DataDescription.of(config, examples))
    np.testing.assert_allclose(model.hyperparameters.weighting(jax.numpy.zeros(2), jax.numpy.zeros(2)), np.log(3.0))
    with jax.numpy_dtype_promotion("standard"):
        program = Program.build(model, examples, build_training.mesh(config, jax.devices()[:1]))
        _, metrics = program.step(program.init_state(), next(build_data.batches(config, examples, 0)))
    assert np.isfinite(float(metrics["loss"]))
    assert training.roles.role_of(("w",), np.zeros((2, 2))) is training.roles.Role.MATRIX
    with pytest.raises(
        ValueError, match=r"the network 'tests.tiny:Broken' has no init: it must be a Flax Linen module"
    ):
        Model.build(with_network("flow", "v", model="tests.tiny:Broken"), model.data)
