"""Device meshes and FSDP shardings."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from diffax import losses, networks, processes, schedules, sharding, training
from diffax.processes import time_sampling
from diffax.runs import packing


@pytest.mark.parametrize(
    ("shape", "fsdp", "expected"),
    [
        ((3, 3, 128, 256), 8, PartitionSpec(None, None, None, "fsdp")),
        ((3, 3, 256, 128), 8, PartitionSpec(None, None, "fsdp")),
        ((128, 128), 4, PartitionSpec(None, "fsdp")),
        ((4096, 3), 8, PartitionSpec("fsdp")),
        ((1001, 512), 8, PartitionSpec(None, "fsdp")),  # the largest does not divide
        ((1001, 999), 8, PartitionSpec()),
        ((1, 4096), 8, PartitionSpec(None, "fsdp")),
        ((1, 4095), 3, PartitionSpec()),  # too small to be worth it
        ((4095,), 3, PartitionSpec()),
        ((65536,), 8, PartitionSpec()),  # one axis, however long
        ((3, 3, 128, 256), 1, PartitionSpec()),
        ((), 8, PartitionSpec()),
    ],
)
def test_the_largest_axis_that_divides_is_split(shape, fsdp, expected):
    mesh = AbstractMesh((2, fsdp), ("data", "fsdp"))
    [leaf] = sharding.placed(mesh, [jax.ShapeDtypeStruct(shape, jnp.float32)])
    assert (leaf.shape, leaf.dtype, leaf.sharding.spec) == (shape, jnp.float32, expected)


@pytest.fixture(scope="module", params=[lambda params: params, packing.pack])
def cifar(request):
    """The shapes of a training state of DDPM's CIFAR-10 network, its parameters plain, and packed as in a run."""
    network, optimizer = networks.Linen(networks.UNet(dropout=0.1)), training.adam()
    hyperparameters = training.Hyperparameters(
        learning_rate=2e-4,
        averagings=(training.ema.Constant(0.9999),),
        schedule=schedules.LinearBeta(),
        parameterization=processes.Eps(),
        weighting=losses.weighting.Uniform(),
        time_density=time_sampling.Uniform(),
    )

    def init(key):
        return request.param(network.init(key, (32, 32, 3)))

    return jax.eval_shape(lambda: training.init_state(0, init, optimizer, hyperparameters))


def state_bytes(state, fsdp):
    """What one of fsdp devices holds: (parameters, whole state)."""

    def local(leaf):
        return int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize

    sizes = jax.tree.map(local, sharding.placed(AbstractMesh((1, fsdp), ("data", "fsdp")), state))
    return sum(jax.tree.leaves(sizes.params)), sum(jax.tree.leaves(sizes))


def test_biases_and_scales_are_replicated_and_kernels_are_split(cifar):
    """All but a fiftieth of the parameters are in arrays that are split."""
    placed = jax.tree.leaves(sharding.placed(AbstractMesh((1, 8), ("data", "fsdp")), cifar))
    vectors = [leaf for leaf in placed if len(leaf.shape) < 2]
    assert any(leaf.size >= sharding.SMALLEST_SPLIT for leaf in vectors) == isinstance(cifar.params, packing.Packed)
    assert all(leaf.sharding.is_fully_replicated for leaf in vectors)
    split = sum(leaf.size for leaf in placed if not leaf.sharding.is_fully_replicated)
    assert split > 0.98 * sum(leaf.size for leaf in placed)


def test_eight_devices_need_a_seventh_of_the_memory_of_one(cifar):
    """The CIFAR UNet: 35,746,307 parameters, their two moments and their average."""
    (alone, alone_all), (shared, shared_all) = state_bytes(cifar, 1), state_bytes(cifar, 8)
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
