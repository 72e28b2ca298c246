import itertools
import subprocess
import sys

import numpy as np
import pytest

from diffax.data import dataset, order, pipeline


def numbered(n, labelled=True):
    """n examples that carry their own number, so that a batch tells which it holds."""
    return dataset.Dataset(
        name="numbered",
        examples=np.arange(n, dtype=np.float32)[:, None],
        labels=np.arange(n, dtype=np.int32) if labelled else None,
        num_classes=n if labelled else None,
    )


@pytest.mark.parametrize(("n", "batch_size"), [(10, 5), (10, 4), (7, 3), (5, 12), (1, 3)])
def test_every_epoch_holds_every_example_once(n, batch_size):
    stream = pipeline.Pipeline(numbered(n), batch_size, seed=3)
    num_batches = -(-4 * n // batch_size)
    visited = np.concatenate([stream.batch(step)["x"].ravel() for step in range(num_batches)])
    for epoch in range(4):
        np.testing.assert_array_equal(np.sort(visited[epoch * n : (epoch + 1) * n]), np.arange(n))


def test_labels_stay_with_their_examples():
    batch = pipeline.Pipeline(numbered(50), 16, seed=0).batch(7)
    assert batch["x"].shape == (16, 1) and batch["x"].dtype == np.float32
    assert batch["label"].shape == (16,) and batch["label"].dtype == np.int32
    np.testing.assert_array_equal(batch["x"][:, 0], batch["label"])
    assert set(pipeline.Pipeline(numbered(50, labelled=False), 16).batch(0)) == {"x"}


def test_a_batch_depends_on_seed_and_step_alone():
    data = numbered(100)
    forwards = [pipeline.Pipeline(data, 8, seed=5).indices(step) for step in range(40)]
    order.epoch.cache_clear()
    backwards = [pipeline.Pipeline(data, 8, seed=5).indices(step) for step in reversed(range(40))]
    np.testing.assert_array_equal(forwards, backwards[::-1])
    other = [pipeline.Pipeline(data, 8, seed=6).indices(step) for step in range(40)]
    assert np.mean(np.array(forwards) == np.array(other)) < 0.05


def test_batch_size_does_not_change_the_order():
    data = numbered(30)
    small = np.concatenate([pipeline.Pipeline(data, 4, seed=1).indices(step) for step in range(30)])
    large = np.concatenate([pipeline.Pipeline(data, 60, seed=1).indices(step) for step in range(2)])
    np.testing.assert_array_equal(small, large)


def test_shuffles_are_uniform_and_differ_between_epochs_and_seeds():
    # Where example 0 lands, over many shuffles: chi-squared with 9 degrees of freedom, 99.99th percentile 33.7.
    for shuffles in (
        [order.epoch(10, 0, epoch) for epoch in range(3000)],
        [order.epoch(10, seed, 0) for seed in range(3000)],
    ):
        counts = np.bincount([int(np.argmin(shuffle)) for shuffle in shuffles], minlength=10)
        assert np.sum((counts - 300) ** 2 / 300) < 33.7
    assert not np.array_equal(order.epoch(1000, 0, 1), order.epoch(1000, 1, 0))


def test_order_is_the_one_of_earlier_versions():
    # Golden, written with NumPy 2.4.6 on Linux x86-64: a resumed run must go on in the order it was started with.
    assert order.epoch(8, 0, 0).tolist() == [6, 3, 1, 4, 5, 2, 7, 0]
    assert order.epoch(8, 2**40, 3).tolist() == [0, 6, 7, 2, 1, 4, 3, 5]


def test_iteration_resumes_at_any_step():
    stream = pipeline.Pipeline(numbered(20), 6, seed=2)
    whole = list(itertools.islice(stream.batches(), 12))
    rest = list(itertools.islice(stream.batches(start_step=5), 7))
    for step, batch in enumerate(whole):
        np.testing.assert_array_equal(batch["x"], stream.batch(step)["x"])
    for left, right in zip(whole[5:], rest, strict=True):
        np.testing.assert_array_equal(left["label"], right["label"])


def test_bad_arguments():
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        pipeline.Pipeline(numbered(3), 0)
    with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
        pipeline.Pipeline(numbered(3), 1, seed=-1)
    with pytest.raises(ValueError, match="step must be >= 0, got -1"):
        pipeline.Pipeline(numbered(3), 1).batch(-1)
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        pipeline.Pipeline(
            dataset.Dataset(
                name="x", examples=np.zeros((3, 2), np.float32), labels=np.arange(3, dtype=np.int32), num_classes=2
            ),
            1,
        )


def test_importing_data_imports_no_heavy_library():
    heavy = "{'sklearn', 'grain', 'matplotlib', 'tensorflow', 'torch'}"
    code = f"import sys, diffax.data; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_processes_have_the_rows_of_one_global_batch():
    data = numbered(30)
    whole = pipeline.Pipeline(data, 12, seed=1)
    parts = [pipeline.Pipeline(data, 12, seed=1, process_index=p, process_count=2) for p in range(2)]
    for step in range(10):
        rows = np.concatenate([part.batch(step)["x"] for part in parts])
        np.testing.assert_array_equal(rows, whole.batch(step)["x"])
    with pytest.raises(ValueError, match="divisible by the 2 processes, got 13"):
        pipeline.Pipeline(data, 13, process_count=2)


def test_what_is_sent_ahead_is_the_same_and_errors_come_through():
    stream = pipeline.Pipeline(numbered(20), 6, seed=2)
    for step, batch in enumerate(itertools.islice(pipeline.ahead(stream.batches(3)), 10), start=3):
        np.testing.assert_array_equal(batch["x"], stream.batch(step)["x"])

    def broken():
        yield stream.batch(0)
        raise OSError("the disk is gone")

    sent = pipeline.ahead(broken())
    next(sent)
    with pytest.raises(OSError, match="the disk is gone"):
        next(sent)


def test_worker_processes_change_nothing():
    """In a process of its own, as a notebook's, which has parsed no flags."""
    code = """
import itertools
import numpy as np
from diffax.data import dataset, pipeline

if __name__ == "__main__":
    data = dataset.Dataset(name="numbered", examples=np.arange(20, dtype=np.float32)[:, None])
    stream = pipeline.Pipeline(data, 6, seed=2)
    for workers, start in ((0, 0), (4, 0), (4, 5)):
        taken = list(itertools.islice(stream.batches(start, num_workers=workers), 7))
        assert all((batch["x"] == stream.batch(start + k)["x"]).all() for k, batch in enumerate(taken))
    print("alike")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "alike", done.stderr[-2000:]
