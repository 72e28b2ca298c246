"""Batches of a dataset in memory: each a pure function of (seed, step), so that a resumed run sees the same ones."""

import dataclasses
import itertools
from collections.abc import Iterator
from concurrent import futures
from typing import final

import numpy as np
from jaxtyping import Int64

from diffax.data import dataset as dataset_lib
from diffax.data import order

Batch = dict[str, np.ndarray]


@final
@dataclasses.dataclass(frozen=True)
class Pipeline:
    """An endless stream of batches, shuffled anew every epoch.

    Batches straddle epochs: every epoch visits every example once whatever batch_size is, and batch_size may exceed
    the dataset.

    Raises:
        ValueError: batch_size < 1, seed < 0, or an invalid dataset.
    """

    dataset: dataset_lib.Dataset
    batch_size: int
    seed: int = 0

    def __post_init__(self):
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {self.batch_size}")
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, got {self.seed}")
        self.dataset.validate()

    def indices(self, step: int) -> Int64[np.ndarray, " batch"]:
        """Which examples are in the batch of a step (counted from 0)."""
        if step < 0:
            raise ValueError(f"step must be >= 0, got {step}")
        start = step * self.batch_size
        return order.indices(len(self.dataset), self.seed, start, start + self.batch_size)

    def batch(self, step: int) -> Batch:
        """{'x': float32 (batch, *dims) in the network's range, 'label': int32 (batch,) where there are labels}."""
        rows = self.indices(step)
        batch = {"x": self.dataset.to_network_range(self.dataset.examples[rows])}
        if self.dataset.labels is not None:
            batch["label"] = self.dataset.labels[rows]
        return batch

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """The batches of start_step, start_step + 1, ...; the next one is prepared in a thread meanwhile."""
        with futures.ThreadPoolExecutor(1, thread_name_prefix="batches") as executor:
            upcoming = executor.submit(self.batch, start_step)
            for step in itertools.count(start_step + 1):
                batch = upcoming.result()
                upcoming = executor.submit(self.batch, step)
                yield batch
