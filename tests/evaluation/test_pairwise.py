"""Blockwise distances against SciPy's cdist, with copies at distance 0."""

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from diffax.evaluation import _checks, _pairwise, density_coverage, energy, kernel, precision_recall


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_checks, "ROWS", 13)


def assembled(a, b):
    squared = np.full((len(a), len(b)), np.nan)
    for rows, columns, block in _pairwise.squared_distances(a, b):
        assert block.shape[0] <= 13 and block.shape[1] <= 13
        squared[rows, columns] = block
    return squared


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_distances_are_scipys_and_those_of_copies_are_0(offset):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((40, 20)) + offset, rng.standard_normal((30, 20)) + offset
    b[5:15] = a[20:30]
    found, expected = assembled(a, b), cdist(a, b, "sqeuclidean")
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert (found == 0).sum() == 10


def test_float32_features_are_compared_in_float64():
    a = np.random.default_rng(0).standard_normal((40, 20)).astype(np.float32) + 100
    np.testing.assert_allclose(assembled(a, a), cdist(a.astype(float), a.astype(float), "sqeuclidean"), atol=1e-9)


@pytest.mark.parametrize("k", [1, 3, 20])
def test_neighbours_are_those_of_the_sorted_distances(k):
    x = np.random.default_rng(0).standard_normal((60, 4))
    expected = np.sort(cdist(x, x, "sqeuclidean"), axis=1)[:, k]  # the first is the sample itself
    np.testing.assert_allclose(_pairwise.neighbour_distances(x, k, centre=x.mean(axis=0)), expected, rtol=1e-9)
    doubled = np.concatenate([x, x])
    assert not _pairwise.neighbour_distances(doubled, 1, centre=x.mean(axis=0)).any()


def test_pairs_are_never_all_in_memory(monkeypatch):
    monkeypatch.setattr(_checks, "ROWS", 100)
    generated, reference = np.random.default_rng(0).standard_normal((2, 1500, 3))
    tracemalloc.start()
    precision_recall.precision_recall(generated, reference)
    density_coverage.density_coverage(generated, reference)
    energy.distance(generated, reference)
    kernel.squared_mmd(generated, reference)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.1 * 1500 * 1500 * 8
