"""The device mesh and shardings for data parallelism and FSDP.

Batches are split over all devices, large arrays of the training state over one axis of the mesh.
A step under jit computes the same numbers on every mesh, up to rounding. Shardings determine only where arrays are.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

DATA, FSDP = "data", "fsdp"
# Arrays of fewer numbers are replicated: gathering one costs more time than its memory is worth.
SMALLEST_SPLIT = 4096


def make_mesh(data: int | None = None, fsdp: int = 1, *, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A device mesh with the axes ('data', 'fsdp') over all devices of all processes.

    There are `data` copies of the state (data parallelism). Each copy is sharded over `fsdp` devices (FSDP, which is
    ZeRO stage 3, arXiv:1910.02054). The batch is split over all devices.

    Args:
      data: None for the number of devices divided by fsdp.
      devices: None for all devices of all processes.

    Raises:
      ValueError: data x fsdp is not the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or (data is not None and data < 1):
        raise ValueError(f"mesh.data and mesh.fsdp must be >= 1, got {data} and {fsdp}")
    requested = f"{'the rest' if data is None else data} x {fsdp}"
    data = max(len(devices) // fsdp, 1) if data is None else data
    if data * fsdp != len(devices):
        raise ValueError(f"mesh.data x mesh.fsdp must be the {len(devices)} devices there are, got {requested}")
    shape, axes = (data, fsdp), {"axis_types": (AxisType.Auto, AxisType.Auto)}
    mesh = jax.make_mesh(shape, (DATA, FSDP), devices=devices, **axes)
    if _blocks(mesh.devices) is None:
        # The rows of a process would not be contiguous in the batch. The order by process makes them contiguous; its
        # only cost may be slower communication between TPUs.
        by_process = sorted(devices, key=lambda device: (device.process_index, device.id))
        mesh = Mesh(np.asarray(by_process).reshape(shape), (DATA, FSDP), **axes)
    return mesh


def replicated(mesh: Mesh) -> NamedSharding:
    """The replicated sharding: the whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, batch_size: int | None = None) -> NamedSharding:
    """The sharding of a batch: its first axis is split over all devices.

    A batch_size that is not divisible by the number of devices gives the replicated sharding.
    """
    if batch_size is not None and batch_size % mesh.size:
        return replicated(mesh)
    return NamedSharding(mesh, PartitionSpec((DATA, FSDP)))


def placed(mesh: Mesh | AbstractMesh, shapes: Any) -> Any:
    """Adds FSDP shardings to the shapes of a training state (a pytree as from jax.eval_shape).

    An array of at least SMALLEST_SPLIT numbers and two axes is split over 'fsdp' along its largest axis that is
    divisible by the number of devices; of equally long axes, the last. 1-D parameters (biases, normalization scales)
    and all other arrays are replicated. A parameter, its optimizer moments and its averages have the same shape and
    thus the same sharding.
    """

    def place(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(mesh, _split(leaf.shape, mesh.shape[FSDP]))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(place, shapes)


def check_batch(mesh: Mesh | AbstractMesh, batch_size: int, num_parts: int = 1) -> None:
    """Checks that a batch can be split evenly over the devices, in each of num_parts parts of gradient accumulation.

    Raises:
      ValueError: batch_size is not divisible by num_parts times the number of devices.
    """
    if batch_size % (mesh.size * num_parts):
        parts = f" x train.accumulate = {num_parts}" if num_parts > 1 else ""
        raise ValueError(
            f"train.batch_size must be divisible by the {mesh.size} devices (mesh.data {mesh.shape[DATA]} x mesh.fsdp "
            f"{mesh.shape[FSDP]}){parts}, got {batch_size}"
        )


def process_rows(mesh: Mesh) -> tuple[int, int]:
    """This process's share of every batch as (index, count): the index-th of count equal contiguous parts."""
    blocks = _blocks(mesh.devices)
    assert blocks is not None, "make_mesh orders the devices by process where necessary"
    return blocks.index(jax.process_index()), len(blocks)


def from_rows(mesh: Mesh, rows: Any) -> Any:
    """Makes the global batch, split over all devices, from this process's rows (`process_rows`) in host memory."""
    return jax.make_array_from_process_local_data(batch_sharding(mesh), rows)


def from_copies(sharding: NamedSharding, whole: Any) -> Any:
    """Makes global arrays from complete copies in the host memory of every process, without communication."""

    def place(x: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(sharding, x, x.shape)

    return jax.tree.map(place, whole)


def to_host(x: jax.Array) -> np.ndarray:
    """Gathers a global array into the host memory of every process. A collective: all processes must call it."""
    if x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(x, tiled=True)


def _split(shape: tuple[int, ...], parts: int) -> PartitionSpec:
    divisible = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts == 1 or len(shape) < 2 or math.prod(shape) < SMALLEST_SPLIT or not divisible:
        return PartitionSpec()
    widest = max(divisible, key=lambda axis: (shape[axis], axis))
    return PartitionSpec(*(FSDP if axis == widest else None for axis in range(widest + 1)))


def _blocks(devices: np.ndarray) -> list[int] | None:
    """The processes in the order of their devices in the mesh.

    None if the devices of a process are not contiguous, or if the processes have unequal numbers of devices.
    """
    processes = [device.process_index for device in devices.flat]
    blocks = list(dict.fromkeys(processes))
    length = len(processes) // len(blocks)
    return blocks if processes == [process for process in blocks for _ in range(length)] else None
