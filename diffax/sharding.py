"""Where arrays live: one mesh of devices, big arrays of the state split over one of its axes, batches over both.

A step under jit computes the same numbers on every mesh, to rounding: shardings say where, never what.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

DATA, FSDP = "data", "fsdp"
# Arrays of fewer numbers are on every device: gathering one takes longer than its memory is worth.
SMALLEST_SPLIT = 4096


def make_mesh(data: int | None = None, fsdp: int = 1, *, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh ('data', 'fsdp') over all devices of all processes; data=None is as many as fsdp leaves.

    data devices (or groups of fsdp) hold copies of the state and compute on batches of their own; fsdp devices share
    one copy among them (ZeRO, arXiv:1910.02054, stage 3). The batch is split over all.

    Raises:
      ValueError: data x fsdp is not the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or (data is not None and data < 1):
        raise ValueError(f"mesh.data and mesh.fsdp must be >= 1, got {data} and {fsdp}")
    wanted = f"{'the rest' if data is None else data} x {fsdp}"
    data = max(len(devices) // fsdp, 1) if data is None else data
    if data * fsdp != len(devices):
        raise ValueError(f"mesh.data x mesh.fsdp must be the {len(devices)} devices there are, got {wanted}")
    shape, axes = (data, fsdp), {"axis_types": (AxisType.Auto, AxisType.Auto)}
    mesh = jax.make_mesh(shape, (DATA, FSDP), devices=devices, **axes)
    if _blocks(mesh.devices) is None:
        # Rows of a batch then come from processes out of turn; this order is slower on a TPU's wires at most.
        in_turn = sorted(devices, key=lambda device: (device.process_index, device.id))
        mesh = Mesh(np.asarray(in_turn).reshape(shape), (DATA, FSDP), **axes)
    return mesh


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, batch_size: int | None = None) -> NamedSharding:
    """The first axis split over all devices; with a batch_size that they do not divide, the whole on every one."""
    if batch_size is not None and batch_size % mesh.size:
        return replicated(mesh)
    return NamedSharding(mesh, PartitionSpec((DATA, FSDP)))


def placed(mesh: Mesh | AbstractMesh, shapes: Any) -> Any:
    """The shapes of a state, as by jax.eval_shape, with the sharding of every array.

    An array of at least SMALLEST_SPLIT numbers is split over 'fsdp' along its largest axis that divides, the last of
    those of one length; all others are on every device. So a parameter, its moments and its averages lie alike.
    """

    def place(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        where = NamedSharding(mesh, _split(leaf.shape, mesh.shape[FSDP]))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

    return jax.tree.map(place, shapes)


def check_batch(mesh: Mesh | AbstractMesh, batch_size: int, num_parts: int = 1) -> None:
    """Raises ValueError for a batch, worked through in so many parts, that the devices cannot share evenly."""
    if batch_size % (mesh.size * num_parts):
        parts = f" x train.accumulate = {num_parts}" if num_parts > 1 else ""
        raise ValueError(
            f"train.batch_size must be divisible by the {mesh.size} devices (mesh.data {mesh.shape[DATA]} x mesh.fsdp "
            f"{mesh.shape[FSDP]}){parts}, got {batch_size}"
        )


def process_rows(mesh: Mesh) -> tuple[int, int]:
    """(index, count): this process's devices hold the index-th of count equal parts of every batch."""
    blocks = _blocks(mesh.devices)
    assert blocks is not None, "make_mesh orders devices by process where it has to"
    return blocks.index(jax.process_index()), len(blocks)


def from_rows(mesh: Mesh, rows: Any, *, stacked: bool = False) -> Any:
    """The global batch, split over all devices, from the rows of this process (`process_rows`) in host memory.

    stacked: they are several batches, (num, rows, ...).
    """
    parts = batch_sharding(mesh)
    if stacked:
        parts = NamedSharding(mesh, PartitionSpec(None, *parts.spec))
    return jax.make_array_from_process_local_data(parts, rows)


def from_copies(sharding: NamedSharding, whole: Any) -> Any:
    """Global arrays from arrays that every process holds whole in host memory, without any communication."""

    def place(x: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(sharding, x, x.shape)

    return jax.tree.map(place, whole)


def to_host(x: jax.Array) -> np.ndarray:
    """The whole array on every process, wherever its parts are. All processes have to call it."""
    if x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(x, tiled=True)


def _split(shape: tuple[int, ...], parts: int) -> PartitionSpec:
    divisible = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts == 1 or math.prod(shape) < SMALLEST_SPLIT or not divisible:
        return PartitionSpec()
    widest = max(divisible, key=lambda axis: (shape[axis], axis))
    return PartitionSpec(*(FSDP if axis == widest else None for axis in range(widest + 1)))


def _blocks(devices: np.ndarray) -> list[int] | None:
    """The processes in the order in which their devices follow each other; None if they do not, or unequally."""
    processes = [device.process_index for device in devices.flat]
    blocks = list(dict.fromkeys(processes))
    length = len(processes) // len(blocks)
    return blocks if processes == [process for process in blocks for _ in range(length)] else None
