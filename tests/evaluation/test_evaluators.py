"""Whatever data can be trained on, its samples can be looked at and measured."""

import types

import numpy as np
import pytest

from diffax import data, denoisers, processes, schedules
from diffax.evaluation import evaluators
from diffax.reporting import images


class Data:
    """Examples of one shape."""

    def __init__(self, shape, num_levels):
        x = np.random.default_rng(0).uniform(-1, 1, (200, *shape)).astype(np.float32)
        x = x if num_levels is None else images.to_uint8(x)
        self.train = data.dataset.Dataset(name="train", examples=x, num_levels=num_levels)
        self.held_out = data.dataset.Dataset(name="test", examples=x[::-1], num_levels=num_levels)

    def conditions(self, model, num):
        return None

    def train_examples(self, num):
        return self.train.to_network_range(self.train.examples[:num])


def trained(shape, num_levels):
    rng = np.random.default_rng(1)
    return types.SimpleNamespace(
        num_levels=num_levels,
        config=types.SimpleNamespace(seed=0),
        draw=lambda num, seed, labels=None, wanted=None: rng.uniform(-1, 1, (num, *shape)).astype(np.float32),
        model=types.SimpleNamespace(labels=lambda num: None, noise=processes.NORMAL),
    )


@pytest.mark.parametrize(
    ("shape", "num_levels"),
    [
        *(((8, 8, channels), 256) for channels in (1, 2, 3, 4, 7)),
        *(((dim,), None) for dim in (1, 2, 3, 6)),
        ((4, 4, 3), None),
    ],
)
def test_samples_of_any_data_are_drawn_and_measured(shape, num_levels):
    model, examples = trained(shape, num_levels), Data(shape, num_levels)
    [(name, picture)] = evaluators.samples(1, model, examples, num_samples=50)
    assert name == "samples" and picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] in (1, 3)
    names = ("sliced_wasserstein", "energy")
    values = dict(evaluators.sample_metrics(1, model, examples, num_samples=100, metrics=names))
    assert list(values) == ["sliced_wasserstein/pixels@100", "energy/pixels@100"]
    assert values["sliced_wasserstein/pixels@100"] > 0 and np.isfinite(values["energy/pixels@100"])


def test_metrics_of_samples_tell_the_training_data_from_the_held_out():
    """Samples that are the training data are at distance 0 from them, by the closed form of a shifted Gaussian."""
    rng = np.random.default_rng(2)
    x, shift = rng.standard_normal((400, 3)).astype(np.float32), np.array([3, 0, 4], np.float32)
    examples = types.SimpleNamespace(
        train=data.dataset.Dataset(name="train", examples=x),
        held_out=data.dataset.Dataset(name="test", examples=x + shift),
        conditions=lambda model, num: None,
    )
    model = trained((3,), None)
    model.draw = lambda num, seed, labels, wanted: x[:num]
    for reference, expected in (("train", 0), ("held_out", 25)):
        values = dict(evaluators.sample_metrics(1, model, examples, num_samples=400, reference=reference))
        np.testing.assert_allclose(values["frechet/pixels@400"], expected, atol=1e-4)
    with pytest.raises(ValueError, match=r"reference must be train or held_out, got 'test'"):
        dict(evaluators.sample_metrics(1, model, examples, reference="test"))


def test_straightness_of_a_flow_to_a_gaussian_is_known():
    """S = s (2 - pi / 2) |x_1|^2 (tests/samplers/test_straightness.py), whose mean over x_1 ~ N(0, I) is that of 3."""
    model = trained((3,), None)
    model.schedule, model.sample_shape, std = schedules.Flow(), (3,), 0.5
    model.denoiser = lambda condition: denoisers.gaussian_mixture(model.schedule, [1.0], [[0.3, 0.0, -1.0]], [std])
    [(name, value)] = evaluators.straightness(1, model, Data((3,), None), num_samples=4000, num_steps=60)
    # The standard error of the mean of |x_1|^2 is sqrt(6 / 4000).
    assert name == "straightness"
    assert abs(value / (std * (2 - np.pi / 2)) - 3) < 4 * (6 / 4000) ** 0.5 + 0.05
