"""A device-resident dataset gives the batches of the host pipeline, bit for bit."""

import itertools

import jax
import numpy as np
import pytest

from diffax.data import dataset, device_dataset, pipeline

RNG = np.random.default_rng(0)


def images(n, labelled=True):
    return dataset.Dataset(
        name="images",
        examples=RNG.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8),
        labels=RNG.integers(0, 10, n).astype(np.int32) if labelled else None,
        num_classes=10 if labelled else None,
        num_levels=256,
    )


gather = jax.jit(lambda data, step: data.batch(step))


@pytest.mark.parametrize(("n", "batch_size"), [(50, 10), (50, 16), (7, 3), (5, 12), (64, 64)])
@pytest.mark.parametrize("start", [0, 1, 17])
def test_both_paths_give_the_same_bytes(n, batch_size, start):
    data = images(n)
    host = pipeline.Pipeline(data, batch_size, seed=3)
    on_device = device_dataset.batches(data, batch_size, 3, start)
    for step in range(start, start + 40):
        gathered, expected = gather(next(on_device), step), host.batch(step)
        assert set(gathered) == set(expected) == {"x", "label"}
        for name, value in expected.items():
            np.testing.assert_array_equal(gathered[name], value)
            assert gathered[name].dtype == value.dtype


def test_it_is_compiled_once_and_data_are_sent_once():
    data = images(40, labelled=False)
    traces = []

    @jax.jit
    def step(on_device, number):
        traces.append(1)
        return on_device.batch(number)["x"].sum()

    sequence = list(itertools.islice(device_dataset.batches(data, 8, 0), 30))
    for number, current in enumerate(sequence):
        step(current, number)
    assert len(traces) == 1
    assert all(current.examples is sequence[0].examples for current in sequence)
    # 40 examples are five batches: the order of two epochs lasts for ten.
    orders = [id(current.order) for current in sequence]
    assert [len(list(group)) for _, group in itertools.groupby(orders)] == [10, 10, 10]


def test_memory_is_that_of_the_bytes_and_of_two_orders():
    data = images(1000)
    on_device = next(device_dataset.batches(data, 10, 0))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(on_device))
    assert size <= data.examples.nbytes + data.labels.nbytes + 2 * 4 * 1000 + 8


def test_a_photograph_takes_a_tenth_more_than_its_pixels_at_most():
    pixels = np.zeros((200, 32, 32, 3), np.uint8)
    labels = np.zeros(200, np.int32)
    data = dataset.Dataset(name="photographs", examples=pixels, labels=labels, num_classes=1, num_levels=256)
    on_device = next(device_dataset.batches(data, 10, 0))
    assert pixels.nbytes < sum(leaf.nbytes for leaf in jax.tree.leaves(on_device)) < 1.1 * pixels.nbytes
