"""The data that evaluators compare a model with: training and held-out examples, without augmentation."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffax import build_data, data, sharding, training
from diffax.data.examples import Examples
from diffax.runs import asked
from diffax.runs.asked import Asked
from diffax.runs.model import Model


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationData:
    """Training and held-out examples.

    preprocess: bytes to the network's range, without augmentation.
    mesh: the devices that batches are split over.
    seed: of the run, for dequantization noise.
    """

    train: Examples
    held_out: Examples
    preprocess: training.Preprocess
    mesh: Mesh
    seed: int

    @classmethod
    def of(cls, config: ConfigDict, train: Examples, held_out: Examples, mesh: Mesh) -> "EvaluationData":
        """The data of a configuration."""
        return cls(train, held_out, build_data.preprocess(config, train, augment=False), mesh, config.seed)

    def held_out_batch(self, num_examples: int) -> training.Batch:
        """Up to num_examples held-out examples as a preprocessed batch on the devices, the same at every call."""
        batch = self._held_out(min(len(self.held_out), num_examples))
        return _preprocessed(self.preprocess, batch, self.seed)

    def train_examples(self, num_examples: int | None) -> np.ndarray:
        """The first num_examples training examples in the network's range, (n, *sample_shape); None for all."""
        return _first(self.train, num_examples)

    def conditions(self, model: Model, num_samples: int) -> Asked | None:
        """Those of random held-out examples for samples; None for a model that is told classes at most."""
        return asked.of_examples(model, self.held_out, num_samples)

    @functools.lru_cache(maxsize=4)  # noqa: B019, lives as long as the run
    def _held_out(self, size: int) -> Any:
        batch = data.pipeline.Pipeline(self.held_out, size).batch(0)
        return sharding.from_copies(sharding.batch_sharding(self.mesh, size), batch)


def _first(examples: Examples, num_examples: int | None) -> np.ndarray:
    count = len(examples) if num_examples is None else min(num_examples, len(examples))
    return np.asarray(examples.to_network_range(examples.batch(np.arange(count))["x"]))


@functools.partial(jax.jit, static_argnums=0)
def _preprocessed(preprocess: training.Preprocess, batch: training.Batch, seed: jax.Array) -> training.Batch:
    keys = training.evaluation_keys(jax.random.key(seed), len(batch["x"]))
    return training.preprocessed(batch, keys, preprocess)
