"""The network, the data and the evaluators of a config, against the objects built directly."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import build, build_conditions, build_data, data, denoisers, evaluation, networks, processes, schedules
from diffax.conditions import Classes, Vector
from tests.settings.changed import assert_complete, changed, chosen

UNET = {
    "channels": 16,
    "channel_multipliers": (1, 3),
    "num_res_blocks": 1,
    "attention_resolutions": (4,),
    "num_heads": 2,
    "dropout": 0.3,
    "groups": 4,
    "scale_shift": True,
    "resblock_updown": True,
    "dtype": "bfloat16",
    "remat": "blocks",
}
MLP = {"hidden": 24, "depth": 2, "residual": False, "dropout": 0.3, "dtype": "bfloat16"}
FOURIER, SLOW = networks.FourierFeatures(16.0), networks.SinusoidalFeatures(500.0)
# Name, options, the module; options of features are given by their paths.
NETWORKS = [
    (
        "unet",
        UNET | {"time_features": "fourier", "time_features.std": 16},
        networks.UNet(**UNET, time_features=FOURIER, out_channels=1),
    ),
    (
        "unet",
        {"head_channels": 8, "attention_resolutions": (8,), "time_features.max_period": 500},
        networks.UNet(head_channels=8, attention_resolutions=(8,), time_features=SLOW, out_channels=1),
    ),
    (
        "mlp",
        MLP | {"time_features": "fourier", "time_features.std": 16},
        networks.MLP(**MLP, time_features=FOURIER, out_dim=1),
    ),
    ("mlp", {"time_features.max_period": 500}, networks.MLP(time_features=SLOW, out_dim=1)),
]


@pytest.mark.parametrize(("name", "options", "module"), NETWORKS)
def test_network(name, options, module):
    assert build.network(chosen("model", name, options), (8, 8, 1), {}).module == module


def test_classes_and_augmentation():
    """The classes of the data where config.conditions asks for them, and what a geometric augmentation did."""
    digits = data.digits.load()
    settings = {"model.channels": 16, "model.groups": 4, "model.attention_resolutions": "(8,)"}
    for told, kinds in (({"conditions.label.drop": 0.1}, {"label": Classes(10)}), ({}, {})):
        for augment, more in (("geometric", {"augmentation": Vector(9)}), ("flip", {})):
            config = changed(told | {"data.augment": augment})
            found = build_conditions.kinds(config, build_conditions.attach(config, digits))
            assert found == kinds | more
            config = changed(told | settings | {"data.augment": augment})
            assert dict(build.network(config, (8, 8, 1), found).conditions) == kinds | more


@pytest.mark.parametrize(
    ("features", "frequency"),
    [(FOURIER, 2 * np.pi * 16 * 1.1503493803760079), (SLOW, 1 / 500)],  # Phi^-1(1/2 + 3/8); 1 / max_period
)
def test_time_features_are_what_they_are(features, frequency):
    """Of 4 features the last is the cosine of the second frequency."""
    t = np.array([0.1, 0.7])
    np.testing.assert_allclose(features(jnp.asarray(t, jnp.float32), 4)[:, 3], np.cos(frequency * t), atol=1e-4)


@pytest.mark.parametrize("name", data.toy.DISTRIBUTIONS)
def test_points(name):
    """Each name is its own distribution, with its options."""
    config = chosen("data", name, {"num_points": 50, "seed": 3})
    for split in ("train", "test"):
        loaded = build_data.dataset(config, split)
        np.testing.assert_array_equal(loaded.examples, data.toy.load(name, split, num_points=50, seed=3).examples)
    others = [data.toy.load(other, "train", num_points=50, seed=3) for other in data.toy.DISTRIBUTIONS if other != name]
    first = build_data.dataset(config, "train").examples
    assert not any(np.array_equal(first, other.examples) for other in others)


def test_padding_one_class_and_dequantization():
    digits = build_data.dataset(changed({"data": "digits"}), "train")
    padded = build_data.dataset(changed({"data": "digits", "data.pad": 2}), "train")
    assert padded.shape == (12, 12, 1)
    np.testing.assert_array_equal(padded.examples[:, 2:-2, 2:-2], digits.examples)
    assert padded.examples.sum() == digits.examples.sum()
    sevens = build_data.dataset(changed({"data": "digits", "data.only_label": 7}), "train")
    np.testing.assert_array_equal(sevens.examples, digits.examples[digits.labels == 7])
    for dequantize in (False, True):
        config = changed({"data": "digits", "data.dequantize": dequantize})
        keys = jax.random.split(jax.random.key(0), 32)
        x = build_data.preprocess(config, digits)({"x": jnp.asarray(digits.examples[:32])}, keys)["x"]
        levels = np.asarray(x, float) / 2 * (17 if dequantize else 16) + (17 / 2 if dequantize else 8)
        assert np.allclose(levels, np.round(levels), atol=1e-4) != dequantize
        np.testing.assert_array_equal(np.floor(levels + (0 if dequantize else 1e-4)), digits.examples[:32])


def test_batches_are_of_the_size_and_the_seed():
    config = changed({"data": "two_moons", "train.batch_size": 6, "seed": 5, "data.on_device": False})
    examples = build_data.dataset(config, "train")
    batch = next(build_data.batches(config, examples, 0))["x"]
    np.testing.assert_array_equal(batch, data.pipeline.Pipeline(examples, 6, 5).batch(0)["x"])
    assert not build_data.is_on_device(config, examples)
    assert build_data.is_on_device(changed({"data": "two_moons", "data.on_device": True}), examples)
    other = changed({"data": "two_moons", "train.batch_size": 6, "seed": 6, "data.on_device": False})
    assert np.abs(next(build_data.batches(other, examples, 0))["x"] - batch).max() > 0


class Probe:
    """Stands in for a trained model and its data, and counts what is asked of it."""

    num_levels, config = None, types.SimpleNamespace(seed=0)
    schedule = types.SimpleNamespace(log_snr=lambda t: 4.0 - 8.0 * t)

    def __init__(self):
        self.asked = []

    def draw(self, num, **options):
        self.asked.append(num)
        return np.random.default_rng(0).normal(size=(num, 2)).astype(np.float32)

    def examples(self, num):
        return np.random.default_rng(1).normal(size=(num or 500, 2)).astype(np.float32)

    def denoiser(self, condition):
        return denoisers.gaussian_mixture(self.schedule, [1.0], [[0.0, 0.0]], [1.0])

    train_examples = examples
    train = held_out = data.dataset.Dataset(name="points", examples=np.eye(2, dtype=np.float32))
    model = types.SimpleNamespace(labels=lambda num: None, noise=processes.NORMAL)

    def conditions(self, model, num):
        return None

    def held_out_batch(self, num):
        self.asked.append(num)
        return {"x": np.zeros((num, 2), np.float32)}

    def losses(self, batch):
        return np.full(len(batch["x"]), 0.75)

    def loss_and_grad_norm(self, batch, log_snr):
        return log_snr.mean(), 2.0

    def likelihoods(self, examples, rows, *, ways):
        self.asked.append(rows)
        return {way: np.array([1.0, 3.0]) for way in ways}


# Name, options, the names that it yields, what it asks for.
EVALUATORS = [
    ("samples", {"num_samples": 7}, ["samples"], 7),
    ("held_out_loss", {"num_examples": 11}, ["held_out_loss"], 11),
    (
        "loss_by_log_snr",
        {"bins": 2, "num_examples": 11},
        ["loss_log_snr_-2", "grad_norm_log_snr_-2", "loss_log_snr_2", "grad_norm_log_snr_2"],
        11,
    ),
    ("bits_per_dim", {"num_examples": 12}, ["nats_per_dim", "nats_per_dim_standard_error"], 12),
    (
        "sample_metrics",
        {"num_samples": 60, "metrics": ("energy",), "features": "tests.tiny:doubled", "reference": "held_out"},
        ["energy/doubled@60"],
        60,
    ),
    ("straightness", {"num_samples": 9, "num_steps": 4}, ["straightness"], 9),
]


@pytest.mark.parametrize(("name", "options", "yielded", "asked"), EVALUATORS)
def test_evaluator(name, options, yielded, asked):
    overrides = {"evaluators.mine.name": name, "evaluators.mine.every": 13, "evaluators.samples": "None"}
    overrides |= {"evaluators.held_out_loss": "None"}
    config = changed(overrides | {f"evaluators.mine.{key}": value for key, value in options.items()})
    [(every, evaluator)] = build.evaluators(config).values()
    probe = Probe()
    if name == "straightness":
        probe.schedule, probe.sample_shape = schedules.Flow(), (2,)
        probe.model = types.SimpleNamespace(labels=probe.asked.append, noise=processes.NORMAL)
    values = dict(evaluator(5, probe, probe))
    assert every == 13 and list(values) == yielded and probe.asked == [asked]
    if name == "loss_by_log_snr":  # each bin is asked about around its centre
        np.testing.assert_allclose([values["loss_log_snr_-2"], values["loss_log_snr_2"]], [-2, 2], atol=1e-5)


def test_evaluators_are_functions_of_those_names():
    assert {one.__name__ for one in evaluation.EVALUATORS} == {name for name, *_ in EVALUATORS}


def test_every_name_and_option_is_here():
    assert_complete("model", [case[:2] for case in NETWORKS])
    assert_complete("evaluators", [case[:2] for case in EVALUATORS])
