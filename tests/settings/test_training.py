"""Optimizer, learning rate, averages, the loss of a batch and preprocessing of a config, by their effect in numbers."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffax import build, build_data, build_training, data, losses, processes, training
from diffax.conditions import GUIDANCE, Classes, Number, Vector
from diffax.runs import DataDescription, Model
from tests import tiny
from tests.settings.changed import assert_complete, changed, chosen

# Name, options, fractions of the peak at steps 0, 30 and 60 of 60 after 10 steps of warm-up.
DECAYS = [
    ("constant", {}, [1, 1, 1]),
    ("cosine", {"final_fraction": 0.2}, [1, 0.2 + 0.8 * (1 + math.cos(math.pi / 3)) / 2, 0.2]),
    ("linear", {"final_fraction": 0.2}, [1, 1 - 0.8 / 3, 0.2]),
]


@pytest.mark.parametrize(("name", "options", "expected"), DECAYS)
def test_learning_rate(name, options, expected):
    config = chosen("optimizer.decay", name, options, optimizer__warmup_steps=10, train__num_steps=70)
    shape = build_training.learning_rate_shape(config)
    without = build_training.learning_rate_shape(chosen("optimizer.decay", name, options, train__num_steps=70))
    shape, without = (jax.jit(one) for one in (shape, without))
    np.testing.assert_allclose([shape(jnp.float32(step)) for step in (0, 4, 9)], [0.1, 0.5, 1.0], rtol=1e-6)
    np.testing.assert_allclose([shape(jnp.float32(step)) for step in (10, 30, 70)], expected, rtol=1e-5)
    assert float(without(jnp.float32(0))) == 1


# Name, options, 1 - decay of the update after 40 steps of batches of 8.
RAMP = 0.2 * 40  # steps
AVERAGES = [
    ("constant", {"decay": 0.7}, 0.3),
    ("constant", {"decay": 0.999}, 9 / 50),  # its warm-up, (1 + n) / (10 + n)
    ("half_life", {"images": 40, "ramp_up": 0.9}, 1 - 0.5 ** (8 / 40)),
    ("half_life", {"images": 10**6, "ramp_up": 0.2}, 1 - 0.5 ** (1 / RAMP)),
    # sigma_rel of exponent 6.94 is 0.10 (arXiv:2312.02696, section 3.1).
    ("power", {"length": 0.05}, 1 - (1 - 1 / 41) ** (16.97 + 1)),
    ("power", {"length": 0.1}, 1 - (1 - 1 / 41) ** (6.94 + 1)),
]


@pytest.mark.parametrize(("name", "options", "expected"), AVERAGES)
def test_average(name, options, expected):
    overrides = {"ema.constant": "None", "ema.mine.name": name}
    config = changed(overrides | {f"ema.mine.{key}": value for key, value in options.items()})
    [averaging] = build_training.averagings(config).values()
    np.testing.assert_allclose(averaging.share(jnp.int32(40), 8), expected, rtol=2e-3)


def test_averages_are_in_the_order_of_their_keys():
    config = changed({"ema.b.name": "constant", "ema.b.decay": 0.5, "ema.a.name": "power", "ema.constant": "None"})
    model = Model.build(points(config), DataDescription("two_moons", (2,)))
    assert list(config.ema) == ["a", "b"]
    power, constant = model.hyperparameters.averagings
    assert isinstance(power, training.ema.Power) and constant == training.ema.Constant(0.5)


GRADS = {"block": {"kernel": jnp.array([[3.0, -4.0], [0.5, 1.0]]), "bias": jnp.array([0.02, -12.0])}}
PARAMS = {"block": {"kernel": jnp.array([[1.0, 2.0], [-3.0, 4.0]]), "bias": jnp.array([1.0, -1.0])}}


def updates(optimizer, num=3):
    """The updates of several steps with the gradient, its negative half, ..."""
    state, made = optimizer.init(PARAMS), []
    with jax.numpy_dtype_promotion("standard"):
        for i in range(num):
            update, state = optimizer.update(jax.tree.map(lambda g, i=i: (-0.5) ** i * g, GRADS), state, PARAMS)
            made.append(update)
    return jax.tree.leaves(made)


SHARED = [{"b1": 0.5}, {"b2": 0.7}, {"eps": 0.1}, {"moment_dtype": "bfloat16"}, {"weight_decay": 0.1}]
SHARED += [{"max_grad_norm": 0.01, "eps": 0.1}]  # Adam is blind to the size of a gradient but for eps
OPTIMIZERS = [("adam", options, training.adam) for options in SHARED]
OPTIMIZERS += [("muon", options, training.muon) for options in [*SHARED, {"momentum": 0.5}, {"newton_schulz_steps": 2}]]


@pytest.mark.parametrize(("name", "options", "optimizer"), OPTIMIZERS)
def test_optimizer(name, options, optimizer):
    ours = updates(build_training.optimizer(chosen("optimizer", name, options)))
    for mine, theirs in zip(ours, updates(optimizer(**options)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    # Each option is felt.
    for left_out in options:
        others = {key: value for key, value in options.items() if key != left_out}
        without = updates(optimizer(**others))
        assert any(not np.array_equal(mine, theirs) for mine, theirs in zip(ours, without, strict=True)), left_out


def test_adam_and_muon_are_what_they_are():
    """Adam's first update is the gradient's sign; Muon's kernel has even singular values, of 0.2 sqrt(2)."""
    adam, muon = (build_training.optimizer(chosen("optimizer", name, {})) for name in ("adam", "muon"))
    np.testing.assert_allclose(updates(adam, 1)[1], np.sign(GRADS["block"]["kernel"]), rtol=1e-5)
    singular = np.linalg.svd(updates(muon, 1)[1], compute_uv=False)
    assert np.all(np.abs(singular / (0.2 * math.sqrt(2)) - 1) < 0.35)
    np.testing.assert_allclose(updates(muon, 1)[0], np.sign(GRADS["block"]["bias"]), rtol=1e-5)


def test_learning_rate_and_weight_decay_of_a_step():
    config = points(changed({"optimizer.learning_rate": 0.25}))
    assert Model.build(config, DataDescription("two_moons", (2,))).hyperparameters.learning_rate == 0.25


def points(config):
    """The configuration with a network of points."""
    from diffax import resolve

    tiny = {"model": "mlp", "model.hidden": "8", "model.depth": "1", "data": "two_moons", "data.num_points": "64"}
    return resolve.resolve(resolve.override(config, tiny.items()))


@dataclasses.dataclass(frozen=True)
class Recorder:
    """A network of four classes and an augmentation that outputs its condition: the label everywhere, or the latter."""

    output: str

    @property
    def conditions(self):
        return {"label": Classes(4), "augmentation": Vector(9)}

    def init(self, key, sample_shape):
        return {"w": jnp.zeros(())}

    def __call__(self, params, x, time_input, condition=None, *, key=None):
        value = condition[self.output]
        value = value if self.output == "label" else value[:, 0]
        return params["w"] + value.astype(x.dtype).reshape(-1, 1, 1, 1) + 0 * x


def seen(output, **overrides):
    """What a network is given as its label or augmentation in the loss of 400 examples, all of label 2 and of 5.

    The schedule is that of flow, the target x_0 = 0, so that the loss of a network that outputs c is c^2.
    """
    config = changed({"parameterization": "x_0", "schedule": "flow", "loss.weighting": "uniform"} | overrides)
    loss = build_training.loss(config, Recorder(output), build.time_input(config, build.schedule(config)))
    hyperparameters = training.Hyperparameters(
        learning_rate=0.1,
        averagings=(),
        schedule=build.schedule(config),
        parameterization=build.parameterization(config, None),
        weighting=build.weighting(config),
        time_density=build.time_density(config),
    )
    num = 400
    batch = {"x": jnp.zeros((num, 2, 2, 1)), "label": jnp.full(num, 2), "augmentation": jnp.full((num, 9), 5.0)}
    keys = jax.random.split(jax.random.key(0), num)
    losses = loss({"w": jnp.zeros(())}, hyperparameters, batch, keys, jnp.full(num, 0.5))
    return np.sqrt(np.asarray(losses, float))  # at t = 1/2 the errors of eps and of x_0 are the same


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_drop(probability):
    """Labels are dropped as often as it says; the parameters of an augmentation, never."""
    settings = {"conditions.label.drop": probability, "data.augment": "geometric"}
    labels = np.round(seen("label", **settings))
    assert set(labels) <= {2.0, 4.0}
    dropped = (labels == 4).mean()
    assert dropped == probability if probability in (0, 1) else abs(dropped - probability) < 4 * math.sqrt(0.21 / 400)
    np.testing.assert_allclose(seen("augmentation", **settings), 5.0, rtol=1e-5)


def images():
    return data.dataset.Dataset(
        name="noise", examples=np.random.default_rng(0).integers(0, 256, (64, 4, 4, 1), dtype=np.uint8), num_levels=256
    )


# Name, options, whether the network has a variance, and the loss by its function.
LOSSES = [
    ("denoising", {}, losses.denoising),
    ("hybrid", {"bound_weight": 0.5, "decoder": "gaussian", "num_steps": 20}, losses.hybrid),
    ("variational_bound", {"variance": "small", "decoder": "gaussian", "num_steps": 20}, losses.variational_bound),
    ("variational_bound", {"decoder": "gaussian", "num_steps": 30}, losses.variational_bound),
    ("mean_flow", {"share": 0.5, "adaptive": 0.5, "constant": 0.1}, losses.mean_flow),
    ("improved_mean_flow", {"share": 0.75, "adaptive": 0.5, "constant": 0.1}, losses.improved_mean_flow),
    ("terminal_velocity", {}, losses.terminal_velocity),
    ("shortcut", {"share": 0.5, "num_steps": 16}, losses.shortcut),
    (
        "alpha_flow",
        {"share": 0.75, "adaptive": 0.5, "start": 0.1, "end": 0.5, "temperature": 5.0, "clamp": 0.1},
        losses.alpha_flow,
    ),
    (
        "consistency",
        {"solver": "heun", "first_intervals": 5, "last_intervals": 20, "huber": 0.1},
        losses.consistency,
    ),
    ("continuous_consistency", {"tangent": "clipped", "warmup": 0.5}, losses.continuous_consistency),
]
# Losses that fold guidance into training.
GUIDED_LOSSES = [
    ("mean_flow", {"omega": 2.0, "kappa": 0.25, "interval": (0.2, 0.8)}, losses.mean_flow),
    ("improved_mean_flow", {"max_scale": 4.0, "scale_power": 2.0}, losses.improved_mean_flow),
]
# With options of their own, and tested where they are.
OTHER_LOSSES = [
    ("drifting", {"temperatures": (0.1,), "normalised": False, "guidance": 2.0, "two_times": True}),
    ("frechet_distance", {"decay": 0.9, "two_times": True}),
]


@pytest.mark.parametrize(("name", "options", "function"), LOSSES)
def test_loss(name, options, function):
    """The loss of a batch is that function of the network's raw output, with these options."""
    teacher = {"loss.teacher": "runs/unread"} if "solver" in options else {}
    chosen_options = {f"loss.{key}": value for key, value in options.items()}
    config = changed({"loss": name, "schedule": "flow"} | chosen_options | teacher)
    learns = build_training.learns_variance(config)
    assert learns == (name in ("hybrid", "variational_bound") and options.get("variance") != "small")
    model = model_of_points(config)
    assert model.output_shape == ((4,) if learns else (2,))
    assert_is_loss(model, function, options, {})


@pytest.mark.parametrize(("name", "options", "function"), GUIDED_LOSSES)
def test_guided_loss(name, options, function):
    """It is given the network without conditions too, and which samples have none."""
    overrides = {f"loss.{key}": value for key, value in options.items()}
    config = changed({"loss": name, "schedule": "flow", "conditions.label.drop": 1e-9} | overrides)
    model, labels = model_of_points(config, {"label": Classes(3)}), np.array([0, 3, 1, 2, 3, 0], np.int32)
    null = {"label": jnp.full(6, 3)}
    assert_is_loss(model, function, options, {"label": jnp.asarray(labels)}, null, jnp.asarray(labels == 3))


def model_of_points(config, kinds=None):
    """The model of an MLP of a few layers."""
    told = build_training.told_by_loss(config)
    return Model.build(points(config), DataDescription("two_moons", (2,), kinds=(kinds or {}) | told))


def assert_is_loss(model, function, options, condition, null=None, dropped=None):
    """The loss of six points is that of a function of the network under a condition, and without it."""
    batch, t = {"x": jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)), jnp.float32)}, jnp.linspace(0.1, 1, 6)
    params, keys = model.init_params(jax.random.key(1)), jax.random.split(jax.random.key(0), 6)
    # Not zero, so that no part of the loss is.
    params = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(2), leaf.shape), params)
    found = jax.jit(model.loss)(params, model.hyperparameters, batch | condition, keys, t)

    @jax.jit
    def expected(keys, t):
        def under(condition):
            def predict(x_t, t, s=None, *, key=None, told=None):
                more = ({} if s is None else {"span": t - s}) | (told or {})
                time = model.time_input(model.schedule, t)
                return model.network(params, x_t, time, condition | more or None, key=key)

            return predict

        arguments = (keys, under(condition), model.schedule, model.parameterization, batch["x"])
        hyperparameters = model.hyperparameters
        passed = {"weighting": hyperparameters.weighting, "time_density": hyperparameters.time_density}
        if null is not None:
            passed["unconditional"] = losses.Unconditional(under(null), dropped)
        return function(*arguments, t=t, **passed, **options)

    loss_keys = jax.vmap(lambda key: jax.random.split(key, 2)[0])(keys)
    np.testing.assert_allclose(found, expected(loss_keys, t), rtol=1e-4)


MOMENTS = processes.Moments(np.array([0.5, -0.2]), np.array([0.2, 0.9]), np.eye(2))
SEEING = {"parameterization": "edm_gaussian", "parameterization.as_input": True}
REFUSED_LOSSES = [
    (
        {"loss": "hybrid"},
        {},
        "loss.decoder = 'discretized' is for images of discrete levels, and these data are points",
    ),
    ({"loss": "hybrid", "model": "tests.tiny:Network"}, {"num_levels": 17}, "has 2 for 2: use a network with out_chan"),
    ({"loss": "hybrid", "data.dequantize": True}, {"num_levels": 17}, "these data are points or dequantised"),
    (
        {"loss": "variational_bound", "loss.stable_targets": True},
        {"num_levels": 17},
        "loss.stable_targets is for losses with a regression target, and 'variational_bound' has none",
    ),
    (
        {"loss": "drifting", "sampler.num_steps": 1, "train.accumulate": 2},
        {},
        "loss 'drifting' compares a whole batch with data, which parts of it are not: set train.accumulate=1, got 2",
    ),
    ({"loss": "frechet_distance", "sampler.num_steps": 3}, {}, "of one evaluation, at t = 1: set sampler.num_steps=1"),
    ({"loss": "drifting", "noise": "pfgmpp", "sampler.num_steps": 1}, {}, "loss 'drifting' is of normal noise, got"),
    ({"loss": "drifting", "loss.stable_targets": True, "sampler.num_steps": 1}, {}, "and 'drifting' has none"),
    ({"loss": "mean_flow", "loss.omega": 2.0}, {}, r"loss 'mean_flow' with guidance .* this model is told nothing"),
    (
        {"loss": "improved_mean_flow", "loss.max_scale": 2.0, "conditions.label.drop": 0.0},
        {"kinds": {"label": Classes(3), "span": Number(), **GUIDANCE}},
        "conditions.label.drop is 0: give the network conditions that are dropped now and then",
    ),
    ({"sampler": "ancestral"}, {}, "sampler 'ancestral' needs a network with learned variance"),
    (
        {"loss": "consistency", "schedule": "flow", "parameterization": "x_0"},
        {},
        "loss 'consistency' needs a flow map that is the identity at t = s = 0, and that of X0 divides by sigma",
    ),
    ({"loss": "consistency", "loss.solver": "heun"}, {}, "loss.solver = 'heun' is distillation without a teacher"),
    ({"loss.teacher_guidance": 2.0}, {}, "loss.teacher_guidance = 2 is distillation without a teacher: set loss.teach"),
    (
        {"loss": "variational_bound", "loss.decoder": "gaussian", "loss.teacher": "run"},
        {},
        "loss.teacher is for losses with a regression target, and 'variational_bound' has none",
    ),
    (
        {"loss.teacher": "run", "loss.stable_targets": True},
        {},
        "loss.teacher and loss.stable_targets are both the regression target",
    ),
    ({"model": "tests.settings.test_training:Twice"}, {}, "loss 'denoising' trains no variance, and this network has"),
    (
        {"model": "tests.settings.test_training:Twice"} | SEEING,
        {"moments": MOMENTS},
        "the network has 12 channels of output for 2 of the data: give it out_channels",
    ),
]


class Twice(tiny.Network):
    """A network with twice the channels."""

    def __call__(self, params, x, time_input, condition=None, *, key=None):
        return jnp.concatenate([x, x], axis=-1)


@pytest.mark.parametrize(("overrides", "described", "message"), REFUSED_LOSSES)
def test_losses_that_do_not_go_with_data_or_network(overrides, described, message):
    with pytest.raises(ValueError, match=message):
        Model.build(changed({"model": "mlp"} | overrides), DataDescription("two_moons", (2,), **described))


def test_a_network_that_sees_the_gaussian_s_estimates_has_three_times_the_input():
    model = Model.build(changed({"model": "mlp"} | SEEING), DataDescription("two_moons", (2,), moments=MOMENTS))
    params, x_t = model.init_params(jax.random.key(0)), jnp.ones((4, 2))
    assert model.input_shape == (6,) and model.output_shape == (2,)
    exact = model.parameterization.predict(model.schedule, jnp.zeros((4, 2)), x_t, jnp.full(4, 0.5))
    # The last layer of a new network is 0, so that it samples the Gaussian.
    np.testing.assert_allclose(model.denoiser(params)(x_t, 0.5).x_0, exact.x_0, rtol=1e-6)


AUGMENTATIONS = [("none", {}), ("flip", {}), ("geometric", {"probability": 0.5})]


@pytest.mark.parametrize(("name", "options"), AUGMENTATIONS)
def test_augmentation(name, options):
    config, examples = chosen("data.augment", name, options), images()
    keys = jax.random.split(jax.random.key(0), 64)
    made = build_data.preprocess(config, examples)({"x": jnp.asarray(examples.examples)}, keys)
    plain = examples.examples / 127.5 - 1
    if name == "none":
        np.testing.assert_allclose(made["x"], plain, atol=1e-6)
    if name == "flip":
        unchanged = np.isclose(made["x"], plain, atol=1e-6).all((1, 2, 3))
        mirrored = np.isclose(made["x"], plain[:, :, ::-1], atol=1e-6).all((1, 2, 3))
        assert (unchanged ^ mirrored).all() and 16 < mirrored.sum() < 48
    if name == "geometric":
        # A shift is drawn with the probability; at most one in 16 by chance is 4 deviations away from a half.
        assert abs((np.asarray(made["augmentation"])[:, 7] != 0).mean() - 0.5) < 0.25
        assert made["augmentation"].shape == (64, 9)
    # Held-out data are not augmented.
    held_out = build_data.preprocess(config, examples, augment=False)({"x": jnp.asarray(examples.examples)}, keys)
    np.testing.assert_allclose(held_out["x"], plain, atol=1e-6)
    assert "augmentation" not in held_out
    assert ("augmentation" in made) == (name == "geometric")


def test_stable_targets_snapshots_and_limits():
    config = points(changed({"loss.stable_targets": True, "train.snapshot_dtype": "float16"}))
    examples = build_data.dataset(config, "train")
    model = Model.build(config, DataDescription.of(config, examples))
    reference = build_training.reference_data(config, model.network, examples)
    np.testing.assert_array_equal(reference, examples.examples)
    assert build_training.snapshot_dtype(config) is np.float16
    assert build_training.reference_data(points(changed({})), model.network, examples) is None


def test_clipping_is_by_the_global_norm():
    optimizer = build_training.optimizer(chosen("optimizer", "adam", {"max_grad_norm": 0.5, "eps": 1e3, "b1": 0.0}))
    # With so large an eps, Adam's update is the clipped gradient / eps.
    scaled = jnp.concatenate([leaf.ravel() for leaf in updates(optimizer, 1)]) * 1e3
    np.testing.assert_allclose(jnp.linalg.norm(scaled), 0.5, rtol=1e-3)
    assert float(optax.tree.norm(GRADS)) > 10


@pytest.mark.parametrize(
    ("path", "cases"),
    [
        ("optimizer.decay", DECAYS),
        ("ema", AVERAGES),
        ("optimizer", OPTIMIZERS),
        ("data.augment", AUGMENTATIONS),
        ("loss", LOSSES + GUIDED_LOSSES + OTHER_LOSSES),
    ],
)
def test_every_name_and_option_is_here(path, cases):
    assert_complete(path, [case[:2] for case in cases])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({}, "schedule 'learned' needs a loss that does not depend on the schedule .* got Velocity"),
        (
            {"loss.weighting": "sigmoid", "loss.time_density": "log_normal_sigma"},
            "needs training times that follow neither noise levels nor losses: .* got LogNormalSigma",
        ),
        (
            {"loss.weighting": "variational", "loss.time_density": "loss_second_moment"},
            "needs training times that follow neither noise levels nor losses: .* got LossSecondMoment",
        ),
    ],
)
def test_a_learned_schedule_that_would_learn_something_else_is_refused(overrides, message):
    config = changed({"data": "two_moons", "model": "mlp", "schedule": "learned"} | overrides)
    with pytest.raises(ValueError, match=message):
        _ = Model.build(config, DataDescription("two_moons", (2,))).hyperparameters
