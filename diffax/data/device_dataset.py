"""Device-resident datasets: batches are gathered in device memory inside the compiled step, without host transfers."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from diffax import arrays
from diffax.data import order
from diffax.data.conditioned import Column, Conditioned
from diffax.data.dataset import in_memory
from diffax.data.examples import Examples
from diffax.typing import Array


@final
@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class DeviceDataset:
    """A dataset in device memory with the visiting order of the next steps; a pytree, the argument of a train step.

    examples: uint8 images or float32 points, (n, *dims).
    labels: int32 (n,), or None.
    eps: the noise of pairs, float32 (n, *dims), or None.
    conditions: the values of conditions by name.
    from_label: the names under which the labels are a condition.
    order: int32 (num_steps * batch_size,), the examples of the steps from first_step on.
    first_step: int32 scalar.
    """

    examples: Array
    labels: Array | None
    eps: Array | None
    order: Array
    first_step: Array
    conditions: dict[str, Column]
    batch_size: int = dataclasses.field(metadata={"static": True})
    from_label: tuple[str, ...] = dataclasses.field(default=(), metadata={"static": True})

    def batch(self, step: Array) -> dict[str, Any]:
        """Gathers the batch of a step, equal bit for bit to data.pipeline.Pipeline.batch. Call it inside jit."""
        start = (step - self.first_step) * self.batch_size
        rows = jax.lax.dynamic_slice_in_dim(self.order, start, self.batch_size)
        batch = {"x": jnp.take(self.examples, rows, axis=0)}
        if self.eps is not None:
            batch["eps"] = jnp.take(self.eps, rows, axis=0)
        if self.labels is not None:
            label = jnp.take(self.labels, rows, axis=0)
            batch |= {"label": label} | dict.fromkeys(self.from_label, label)
        return batch | {name: column.gather(rows) for name, column in self.conditions.items()}


def batches(
    examples: Examples,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    place: Callable[[Any], Any] = jax.device_put,
) -> Iterator[DeviceDataset]:
    """An endless iterator of the train step's argument at start_step, start_step + 1, ...

    The examples are copied to the device once. The visiting order of about two epochs is sent at a time, a new one
    when the last is used up.

    Args:
      examples: in memory, with conditions or without.
      place: copies arrays to the device, or to the devices of a mesh.
    """
    dataset = in_memory("data.on_device", examples)
    stored = examples.stored if isinstance(examples, Conditioned) else {}
    placed, conditions = place(dataset.examples), {name: place(column) for name, column in stored.items()}
    labels, eps = (None if value is None else place(value) for value in (dataset.labels, dataset.eps))
    num_steps = -(-2 * len(dataset) // batch_size)
    for first_step in itertools.count(start_step, num_steps):
        start, stop = first_step * batch_size, (first_step + num_steps) * batch_size
        current = DeviceDataset(
            examples=placed,
            labels=labels,
            eps=eps,
            order=place(order.indices(len(dataset), seed, start, stop).astype(np.int32)),
            first_step=place(np.asarray(first_step, np.int32)),
            conditions=conditions,
            batch_size=batch_size,
            from_label=examples.from_label if isinstance(examples, Conditioned) else (),
        )
        yield from itertools.repeat(current, num_steps)
