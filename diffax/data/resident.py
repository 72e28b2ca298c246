"""A dataset that lives on the device: batches are gathered inside the compiled step, and the host sends none."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import final

import jax
import jax.numpy as jnp
import numpy as np

from diffax import arrays
from diffax.data import dataset as dataset_lib
from diffax.data import order
from diffax.typing import Array, Node


@final
@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Resident:
    """Examples as bytes (or points), labels or None, and the order of the epochs being visited.

    order: int32, the examples of step first_step onwards; skipped: how many of them belong to the steps before.
    """

    examples: Node[Array]
    labels: Node[Array | None]
    order: Node[Array]
    first_step: Node[Array]
    skipped: Node[Array]
    batch_size: int = dataclasses.field(metadata={"static": True})

    def batch(self, step: Array) -> dict[str, Array]:
        """The batch of a step, as data.pipeline.Pipeline.batch makes it, bit by bit. To be called inside jit."""
        start = (step - self.first_step) * self.batch_size + self.skipped
        rows = jax.lax.dynamic_slice_in_dim(self.order, start, self.batch_size)
        batch = {"x": jnp.take(self.examples, rows, axis=0)}
        return batch if self.labels is None else batch | {"label": jnp.take(self.labels, rows, axis=0)}


def batches(
    dataset: dataset_lib.Dataset,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    place: Callable[[np.ndarray], jax.Array] = jax.device_put,
    *,
    stride: int = 1,
) -> Iterator[Resident]:
    """What to give the train step at start_step, start_step + 1, ...: the same arrays, with a new order every epoch.

    With a stride what to give it at every stride-th step only, good for as many steps. The data are copied to the
    device (or devices, by `place`) once; the order of at least two epochs is sent when the one before is used up.
    """
    size = len(dataset)
    epochs = max(2, -(-stride * batch_size // size) + 1)
    held = Resident(
        examples=place(dataset.examples),
        labels=None if dataset.labels is None else place(dataset.labels),
        order=jnp.zeros(epochs * size, jnp.int32),
        first_step=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
        batch_size=batch_size,
    )
    step, end = start_step, 0
    while True:
        position = step * batch_size
        if position + stride * batch_size > end:
            begin = position // size * size
            end = begin + epochs * size
            held = dataclasses.replace(
                held,
                order=place(order.indices(size, seed, begin, end).astype(np.int32)),
                first_step=place(np.asarray(step, np.int32)),
                skipped=place(np.asarray(position - begin, np.int32)),
            )
        yield held
        step += stride
