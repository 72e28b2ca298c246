"""Streaming moments against NumPy's mean and covariance, merged in any order, saved and loaded."""

import itertools
import tracemalloc

import numpy as np
import pytest

from diffax.evaluation import Moments, _checks, moments


def features(n=1000, dim=6, seed=0):
    """Correlated features whose means and scales differ by orders of magnitude."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, dim)) @ rng.standard_normal((dim, dim)) * 10.0 ** np.arange(dim) + 1e4


def test_moments_are_numpys(monkeypatch):
    monkeypatch.setattr(_checks, "ROWS", 37)
    x = features()
    found = Moments.of(x)
    assert found.count == 1000 and found.mean.dtype == found.scatter.dtype == np.float64
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(found.covariance, np.cov(x, rowvar=False), rtol=1e-9)


def test_float32_features_are_summed_in_float64():
    x = features().astype(np.float32)
    np.testing.assert_allclose(Moments.of(x).covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-9)


def test_shards_of_any_sizes_and_order_merge_to_the_same():
    x = features(200)
    shards = [Moments.of(part) for part in np.split(x, [1, 3, 60, 61, 150])]
    whole = Moments.of(x)
    scale = np.sqrt(np.outer(whole.scatter.diagonal(), whole.scatter.diagonal()))
    for order in itertools.permutations(shards):
        found = moments.merged(order)
        assert found.count == whole.count
        np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(found.scatter / scale, whole.scatter / scale, atol=1e-12)
        np.testing.assert_array_equal(found.scatter, found.scatter.T)
    nested = (shards[0] + shards[1]) + ((shards[2] + shards[3]) + (shards[4] + shards[5]))
    np.testing.assert_allclose(nested.scatter / scale, whole.scatter / scale, atol=1e-12)


def test_moments_of_other_processes_come_back_bitwise(tmp_path):
    x = features(100)
    for number, part in enumerate(np.split(x, 4)):
        moments.save(tmp_path / "shards" / f"{number}.npz", Moments.of(part))
    loaded = [moments.load(path) for path in sorted((tmp_path / "shards").iterdir())]
    expected = moments.merged(Moments.of(part) for part in np.split(x, 4))
    found = moments.merged(loaded)
    assert len(loaded) == 4 and found.count == expected.count == 100
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.scatter, expected.scatter)


@pytest.mark.parametrize(
    "arrays",
    [
        {"count": np.int64(3), "mean": np.zeros(2)},
        {"count": np.int64(3), "mean": np.zeros(2), "scatter": np.zeros((2, 3))},
        {"count": np.int64(3), "mean": np.zeros(2, np.float32), "scatter": np.zeros((2, 2), np.float32)},
        {"count": np.float64(3.5), "mean": np.zeros(2), "scatter": np.zeros((2, 2))},
        {"count": np.int64(0), "mean": np.zeros(2), "scatter": np.zeros((2, 2))},
        {"count": np.int64(3), "mean": np.full(2, np.nan), "scatter": np.zeros((2, 2))},
        {"count": np.int64(3), "mean": np.zeros(2), "scatter": np.array({"code": 1}, object)},
    ],
)
def test_another_npz_is_refused(tmp_path, arrays):
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(ValueError, match=r"other\.npz holds no moments"):
        moments.load(tmp_path / "other.npz")


def test_a_damaged_file_is_refused_and_a_failed_write_keeps_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "reference.npz"
    moments.save(path, Moments.of(features()))
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for damaged in (b"", b"nothing", whole[:100], whole[:middle], flipped):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"reference\.npz holds no moments"):
            moments.load(path)
    path.write_bytes(whole)
    monkeypatch.setattr(np, "savez", lambda file, **arrays: file.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        moments.save(path, Moments.of(features(seed=1)))
    assert path.read_bytes() == whole and [*tmp_path.iterdir()] == [path]
    with pytest.raises(FileNotFoundError):
        moments.load(tmp_path / "none.npz")


def test_what_has_no_moments_is_named():
    one = Moments.of(features(1))
    assert one.count == 1 and not one.scatter.any()
    with pytest.raises(ValueError, match=r"^a covariance needs at least 2 samples, got 1$"):
        _ = one.covariance
    with pytest.raises(ValueError, match=r"of one dimension can be merged, got 6 and 5$"):
        _ = one + Moments.of(features(dim=5))
    with pytest.raises(ValueError, match="no shard"):
        moments.merged([])


def test_the_memory_is_that_of_a_block(monkeypatch):
    monkeypatch.setattr(_checks, "ROWS", 500)
    x = np.random.default_rng(0).standard_normal((20_000, 40), np.float32)
    tracemalloc.start()
    Moments.of(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.2 * x.nbytes  # in float64 at once it would be twice x
