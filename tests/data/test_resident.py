"""Data on the device give the batches that the host gives, to the bit."""

import itertools

import jax
import numpy as np
import pytest

from diffax.data import dataset, pipeline, resident

RNG = np.random.default_rng(0)


def images(n, labelled=True):
    return dataset.Dataset(
        name="images",
        examples=RNG.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8),
        labels=RNG.integers(0, 10, n).astype(np.int32) if labelled else None,
        num_classes=10 if labelled else None,
        num_levels=256,
    )


gather = jax.jit(lambda held, step: held.batch(step))


@pytest.mark.parametrize(("n", "batch_size"), [(50, 10), (50, 16), (7, 3), (5, 12), (64, 64)])
@pytest.mark.parametrize("start", [0, 1, 17])
def test_both_paths_give_the_same_bytes(n, batch_size, start):
    data = images(n)
    host = pipeline.Pipeline(data, batch_size, seed=3)
    held = resident.batches(data, batch_size, 3, start)
    for step in range(start, start + 40):
        mine, theirs = gather(next(held), step), host.batch(step)
        assert set(mine) == set(theirs) == {"x", "label"}
        for name, value in theirs.items():
            np.testing.assert_array_equal(mine[name], value)
            assert mine[name].dtype == value.dtype


def test_it_is_compiled_once_and_data_are_sent_once():
    data = images(40, labelled=False)
    traces = []

    @jax.jit
    def step(held, number):
        traces.append(1)
        return held.batch(number)["x"].sum()

    held = list(itertools.islice(resident.batches(data, 8, 0), 30))
    for number, now in enumerate(held):
        step(now, number)
    assert len(traces) == 1
    assert all(now.examples is held[0].examples for now in held)
    # 40 examples are five batches: the order of two epochs lasts for ten.
    orders = [id(now.order) for now in held]
    assert [len(list(group)) for _, group in itertools.groupby(orders)] == [10, 10, 10]


def test_memory_is_that_of_the_bytes_and_of_two_orders():
    data = images(1000)
    held = next(resident.batches(data, 10, 0))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(held))
    assert size <= data.examples.nbytes + data.labels.nbytes + 2 * 4 * 1000 + 8
    # CIFAR-10: 153.6 MB of pixels, 0.2 MB of labels, 0.4 MB of orders.
    assert (50_000 * (3072 + 4 + 8) + 8) / (50_000 * 3072) < 1.1
