"""Precision, recall, density and coverage against brute force, and in cases whose answer is known."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from diffax.evaluation import _checks
from diffax.evaluation.density_coverage import density_coverage
from diffax.evaluation.precision_recall import precision_recall


def radii(x, k):
    return np.array([sorted(np.delete(row, i))[k - 1] for i, row in enumerate(cdist(x, x))])


@pytest.mark.parametrize("rows", [17, 2048])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_brute_force(monkeypatch, rows, k):
    monkeypatch.setattr(_checks, "ROWS", rows)
    rng = np.random.default_rng(k)
    generated, reference = rng.standard_normal((50, 3)) * 0.8 + 0.3, rng.standard_normal((70, 3))
    between, r_g, r_r = cdist(generated, reference), radii(generated, k), radii(reference, k)
    found = precision_recall(generated, reference, k=k)
    assert found.precision == np.mean([any(between[i, j] <= r_r[j] for j in range(70)) for i in range(50)])
    assert found.recall == np.mean([any(between[i, j] <= r_g[i] for i in range(50)) for j in range(70)])
    found = density_coverage(generated, reference, k=k)
    assert found.density == np.sum(between <= r_r) / (k * 50)
    assert found.coverage == np.mean([any(between[i, j] <= r_r[j] for i in range(50)) for j in range(70)])


def test_one_of_two_modes_has_precision_and_half_of_recall_and_the_other_way_round():
    rng = np.random.default_rng(0)
    near, both = rng.standard_normal((100, 2)), rng.standard_normal((200, 2))
    both[100:] += 1000
    one_mode, all_modes = precision_recall(near, both), precision_recall(both, near)
    assert one_mode.precision > 0.9 and 0.4 < one_mode.recall <= 0.5
    assert 0.4 < all_modes.precision <= 0.5 and all_modes.recall > 0.9
    one_mode, all_modes = density_coverage(near, both), density_coverage(both, near)
    assert one_mode.density == pytest.approx(1, abs=0.2) and 0.4 < one_mode.coverage <= 0.5
    assert all_modes.density == pytest.approx(0.5, abs=0.1) and all_modes.coverage > 0.9


def test_identical_and_disjoint_sets():
    x = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)
    assert precision_recall(x, x) == (1, 1)
    found = density_coverage(x, x)
    assert found.coverage == 1 and found.density > 1  # each sample is in its own ball, beside about k others
    assert precision_recall(x, x + 100) == density_coverage(x, x + 100) == (0, 0)


def test_k_counts_neighbours_without_the_sample_itself():
    """Reference samples at 0, 1, 2, ...: with k = 2 the inner balls have radius 1, that of the first 2, to the left."""
    reference = np.arange(10.0)[:, None]
    for left, precision in ((-1.99, 1), (-2.0, 1), (-2.01, 0)):
        assert precision_recall(np.array([[left], [4], [5.0]]), reference, k=2).precision == (2 + precision) / 3
    found = density_coverage(np.array([[4.5]]), reference, k=2)
    # In the balls of 4 and 5; the outermost balls, of radius 2, end at 2 and 7.
    assert found.density == 2 / 2 and found.coverage == 2 / 10


def test_equal_distances_are_inside_in_any_block(monkeypatch):
    """On a grid most distances are ties."""
    monkeypatch.setattr(_checks, "ROWS", 7)
    grid = np.stack(np.meshgrid(*3 * [np.arange(4) * 0.1 + 0.7]), axis=-1).reshape(-1, 3)
    shifted = grid + np.array([0.1, 0, 0])
    assert precision_recall(shifted, grid) == (1, 1)
    assert density_coverage(shifted, grid).coverage == 1


def test_density_of_equal_distributions_is_1():
    generated, reference = np.random.default_rng(0).standard_normal((2, 1500, 3))
    found = density_coverage(generated, reference)
    assert found.density == pytest.approx(1, abs=0.05)
    # A ball is empty if the k nearest of its centre, of both sets, are all reference samples: about 2^-k of the time.
    assert found.coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_constant_features_are_named_and_too_few_samples_refused():
    x = np.random.default_rng(0).standard_normal((20, 3))
    with pytest.warns(UserWarning, match="all 20 generated samples have the same features"):
        assert precision_recall(np.repeat(x[:1], 20, axis=0), x).precision == 1
    with pytest.warns(UserWarning, match="all 20 reference samples have the same features"):
        assert precision_recall(x, np.full((20, 3), 0.1)) == (0, 1)
    with pytest.raises(ValueError, match=r"generated features must be numbers of shape \(n >= 4, dim >= 1\)"):
        precision_recall(x[:3], x)
    with pytest.raises(ValueError, match=r"reference features must be numbers of shape \(n >= 6, dim >= 1\)"):
        density_coverage(x, x[:5])
    assert density_coverage(x[:1], x).density >= 0  # one generated sample is enough
    for metric in (precision_recall, density_coverage):
        with pytest.raises(ValueError, match="k must be >= 1, got 0"):
            metric(x, x, k=0)
