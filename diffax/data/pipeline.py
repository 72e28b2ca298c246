"""Batches from the host: each a pure function of (seed, step), so that a resumed run sees the same ones."""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, final

import jax
import numpy as np
from jaxtyping import Int64

from diffax.data import dataset as dataset_lib
from diffax.data import order
from diffax.data.source import Reader

Batch = dict[str, np.ndarray]
# More steps than any run has.
_ENDLESS = 1 << 40


@final
@dataclasses.dataclass(frozen=True)
class Pipeline:
    """An endless stream of batches, shuffled anew every epoch.

    Batches straddle epochs: every epoch visits every example once whatever batch_size is, and batch_size may exceed
    the dataset. The global batch of a step does not depend on the number of processes, of which each has its
    contiguous rows, nor on that of workers, nor on where the stream begins.

    Raises:
        ValueError: batch_size < 1 or not divisible by process_count, seed < 0, or an invalid dataset.
    """

    examples: dataset_lib.Dataset | Reader
    batch_size: int
    seed: int = 0
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self):
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {self.batch_size}")
        if self.batch_size % self.process_count:
            raise ValueError(
                f"batch_size must be divisible by the {self.process_count} processes, got {self.batch_size}"
            )
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, got {self.seed}")
        if isinstance(self.examples, dataset_lib.Dataset):
            self.examples.validate()

    def indices(self, step: int) -> Int64[np.ndarray, " batch"]:
        """Which examples are in the global batch of a step (counted from 0)."""
        if step < 0:
            raise ValueError(f"step must be >= 0, got {step}")
        start = step * self.batch_size
        return order.indices(len(self.examples), self.seed, start, start + self.batch_size)

    def batch(self, step: int) -> Batch:
        """{'x': (rows, *dims) as the dataset holds them, bytes for images; 'label': int32 (rows,) where there are any}.

        rows are those of this process.
        """
        local = self.batch_size // self.process_count
        rows = self.indices(step)[self.process_index * local : (self.process_index + 1) * local]
        if isinstance(self.examples, Reader):
            return self.examples.batch(rows)
        batch = {"x": self.examples.examples[rows]}
        if self.examples.labels is not None:
            batch["label"] = self.examples.labels[rows]
        return batch

    def batches(self, start_step: int = 0, *, num_workers: int = 0) -> Iterator[Batch]:
        """The batches of start_step, start_step + 1, ...

        Args:
          num_workers: processes beside this one that make them ahead of time, for decoding, which holds the
            interpreter's lock and would keep this process from its training steps. They take some seconds to start.
        """
        if num_workers == 0:
            return map(self.batch, itertools.count(start_step))
        import grain
        from absl import flags

        if not flags.FLAGS.is_parsed():  # in a notebook; grain hands the flags to its workers
            flags.FLAGS.mark_as_parsed()
        steps = grain.MapDataset.range(start_step, _ENDLESS).map(self.batch)
        stream = steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1))
        workers = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2)
        return iter(stream.mp_prefetch(workers))


def stacked(batches: Iterator[Batch], num: int) -> Iterator[Batch]:
    """Every `num` batches as one whose arrays have another first axis: (num, batch, ...)."""
    while True:
        group = [next(batches) for _ in range(num)]
        yield {name: np.stack([batch[name] for batch in group]) for name in group[0]}


def ahead(
    batches: Iterator[Batch], place: Callable[[Batch], Any] = jax.device_put, num_ahead: int = 4
) -> Iterator[dict[str, jax.Array]]:
    """The batches on the device, or where `place` puts them, each made and sent by a thread while others are in use."""
    with futures.ThreadPoolExecutor(1, thread_name_prefix="batches") as executor:
        upcoming = collections.deque(executor.submit(_sent, batches, place) for _ in range(num_ahead))
        try:
            while True:
                upcoming.append(executor.submit(_sent, batches, place))
                yield upcoming.popleft().result()
        finally:
            for waiting in upcoming:
                waiting.cancel()


def _sent(batches: Iterator[Batch], place: Callable[[Batch], Any]) -> dict[str, jax.Array]:
    return place(next(batches))
