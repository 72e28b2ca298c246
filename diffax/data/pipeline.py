"""The input pipeline: shuffled batches from the host, and their prefetching to the device.

Each batch is a pure function of (seed, step), so that a resumed run gets the batches of an uninterrupted one.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, final

import jax
import numpy as np
from jaxtyping import Int64

from diffax.data import order
from diffax.data.examples import Examples

# "x" (rows, *shape), "label" (rows,) if there are labels, and the values of conditions by name.
Batch = dict[str, Any]
# More steps than any run has.
_ENDLESS = 1 << 40


@final
@dataclasses.dataclass(frozen=True)
class Pipeline:
    """An endless stream of batches, reshuffled every epoch.

    Batches straddle epochs: every epoch visits every example once whatever batch_size is, and batch_size may exceed
    the dataset. The global batch of a step depends on (seed, step, batch_size) alone, not on the number of processes
    or workers nor on the step at which the stream starts. Each process makes its contiguous rows of the global batch.

    Raises:
        ValueError: batch_size < 1 or not divisible by process_count, seed < 0, or an invalid dataset.
    """

    examples: Examples
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
        self.examples.validate()

    def indices(self, step: int) -> Int64[np.ndarray, " batch"]:
        """The indices of the examples in the global batch of a step (counted from 0)."""
        if step < 0:
            raise ValueError(f"step must be >= 0, got {step}")
        start = step * self.batch_size
        return order.indices(len(self.examples), self.seed, start, start + self.batch_size)

    def batch(self, step: int) -> Batch:
        """This process's rows of a step's batch: {'x': (rows, *shape), 'label': int32 (rows,)}, and conditions.

        'x' is raw, bytes for images. There is a 'label' only for a dataset with labels.
        """
        local = self.batch_size // self.process_count
        return self.examples.batch(self.indices(step)[self.process_index * local : (self.process_index + 1) * local])

    def batches(self, start_step: int = 0, *, num_workers: int = 0) -> Iterator[Batch]:
        """An endless iterator of the batches of start_step, start_step + 1, ...

        Args:
          num_workers: worker processes that prepare batches ahead of time. Decoding images holds the interpreter's
            lock, which would delay the training steps of this process. Workers take some seconds to start.
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


def ahead(
    batches: Iterator[Batch], place: Callable[[Batch], Any] = jax.device_put, num_ahead: int = 4
) -> Iterator[dict[str, jax.Array]]:
    """Prefetching: a thread makes the next batches and sends them to the device while earlier ones are in use.

    Args:
      place: copies a batch to the device, or to the devices of a mesh.
      num_ahead: how many batches are prepared in advance.
    """
    with futures.ThreadPoolExecutor(1, thread_name_prefix="batches") as executor:
        upcoming = collections.deque(executor.submit(_next_on_device, batches, place) for _ in range(num_ahead))
        try:
            while True:
                upcoming.append(executor.submit(_next_on_device, batches, place))
                yield upcoming.popleft().result()
        finally:
            for waiting in upcoming:
                waiting.cancel()


def _next_on_device(batches: Iterator[Batch], place: Callable[[Batch], Any]) -> dict[str, jax.Array]:
    return place(next(batches))
