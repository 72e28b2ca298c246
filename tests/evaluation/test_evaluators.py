"""Whatever data can be trained on, its samples can be looked at and measured."""

import types

import numpy as np
import pytest

from diffax.evaluation import evaluators


class Data:
    """Examples of one shape, in the network's range."""

    def __init__(self, shape):
        self.examples = np.random.default_rng(0).uniform(-1, 1, (200, *shape)).astype(np.float32)

    def train_examples(self, num):
        return self.examples[:num]

    held_out_examples = train_examples


def trained(shape, num_levels):
    rng = np.random.default_rng(1)
    return types.SimpleNamespace(
        num_levels=num_levels,
        config=types.SimpleNamespace(seed=0),
        draw=lambda num, seed: rng.uniform(-1, 1, (num, *shape)).astype(np.float32),
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
    model, examples = trained(shape, num_levels), Data(shape)
    [(name, picture)] = evaluators.samples(1, model, examples, num_samples=50)
    assert name == "samples" and picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] in (1, 3)
    for evaluator in (evaluators.pixel_frechet, evaluators.sliced_wasserstein):
        [(_, value)] = evaluator(1, model, examples, num_samples=100)
        assert np.isfinite(value) and value > 0
