"""Which arrays are split over which devices, and what a mesh has to be."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from diffax import sharding
from experiments.benchmarks import scaling


@pytest.mark.parametrize(
    ("shape", "fsdp", "expected"),
    [
        ((3, 3, 128, 256), 8, PartitionSpec(None, None, None, "fsdp")),
        ((3, 3, 256, 128), 8, PartitionSpec(None, None, "fsdp")),
        ((128, 128), 4, PartitionSpec(None, "fsdp")),
        ((4096, 3), 8, PartitionSpec("fsdp")),
        ((1001, 512), 8, PartitionSpec(None, "fsdp")),  # the largest does not divide
        ((1001, 999), 8, PartitionSpec()),
        ((4095,), 3, PartitionSpec()),  # too small to be worth it
        ((3, 3, 128, 256), 1, PartitionSpec()),
        ((), 8, PartitionSpec()),
    ],
)
def test_the_largest_axis_that_divides_is_split(shape, fsdp, expected):
    mesh = AbstractMesh((2, fsdp), ("data", "fsdp"))
    [leaf] = sharding.placed(mesh, [jax.ShapeDtypeStruct(shape, jnp.float32)])
    assert (leaf.shape, leaf.dtype, leaf.sharding.spec) == (shape, jnp.float32, expected)


def test_eight_devices_need_a_seventh_of_the_memory_of_one():
    """The CIFAR UNet: 35,746,307 parameters, their two moments and their average."""
    (alone, alone_all), (shared, shared_all) = scaling.state_bytes(1), scaling.state_bytes(8)
    assert alone == 35_746_307 * 4 and alone_all == pytest.approx(4 * alone, rel=1e-4)
    assert shared <= alone / 7 and shared_all <= alone_all / 7


def test_meshes_that_cannot_be_are_refused():
    devices = jax.devices() * 6  # only counted
    with pytest.raises(ValueError, match=r"must be the 6 devices there are, got 4 x 1$"):
        sharding.make_mesh(4, devices=devices)
    with pytest.raises(ValueError, match=r"must be the 6 devices there are, got the rest x 4$"):
        sharding.make_mesh(fsdp=4, devices=devices)
    with pytest.raises(ValueError, match=r"must be >= 1, got 0 and 2"):
        sharding.make_mesh(0, 2)
    with pytest.raises(ValueError, match=r"divisible by the 6 devices \(mesh.data 3 x mesh.fsdp 2\), got 16"):
        sharding.check_batch(AbstractMesh((3, 2), ("data", "fsdp")), 16)


@pytest.mark.parametrize(
    ("processes", "expected"),
    [([0, 0, 1, 1], [0, 1]), ([1, 1, 0, 0], [1, 0]), ([0, 1, 0, 1], None), ([0, 0, 0, 1], None), ([0], [0])],
)
def test_processes_take_rows_in_the_order_of_their_devices(processes, expected):
    devices = np.array([types.SimpleNamespace(process_index=index) for index in processes])
    assert sharding._blocks(devices) == expected


def test_one_device_is_one_mesh():
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    assert sharding.process_rows(mesh) == (0, 1)
    batch = {"x": np.arange(6, dtype=np.uint8).reshape(3, 2), "label": np.arange(3, dtype=np.int32)}
    for placed in (sharding.from_rows(mesh, batch), sharding.from_copies(sharding.replicated(mesh), batch)):
        assert jax.tree.all(jax.tree.map(np.array_equal, jax.tree.map(sharding.to_host, placed), batch))
