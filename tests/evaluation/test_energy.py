"""The energy distance against SciPy in one dimension, and in closed form."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist, pdist

from diffax.evaluation import _checks, energy


def test_point_masses_are_twice_their_distance_apart():
    a, b = np.zeros((5, 3)), np.tile([2.0, 3.0, 6.0], (8, 1))
    with pytest.warns(UserWarning, match="have the same features"):
        assert energy.distance(a, b) == pytest.approx(2 * 7)
        assert energy.distance(a, b, unbiased=False) == pytest.approx(2 * 7)


def test_with_pairs_of_a_sample_with_itself_it_is_scipys_in_one_dimension():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(80), rng.exponential(size=50)
    expected = stats.energy_distance(a, b) ** 2
    assert energy.distance(a[:, None], b[:, None], unbiased=False) == pytest.approx(expected, rel=1e-9)


def test_without_them_it_is_the_mean_over_pairs(monkeypatch):
    monkeypatch.setattr(_checks, "ROWS", 9)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((40, 4)), rng.standard_normal((31, 4)) + 0.5
    expected = 2 * cdist(a, b).mean() - pdist(a).mean() - pdist(b).mean()
    assert energy.distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert energy.distance(a, a, unbiased=False) == pytest.approx(0, abs=1e-7)


def test_unbiased_for_equal_distributions():
    """The V-statistic of sets of 10 has 2 / 10 of the mean distance, sqrt(pi) for N(0, I) in two dimensions."""
    sets = np.random.default_rng(0).standard_normal((400, 2, 10, 2))
    values = [[energy.distance(a, b, unbiased=unbiased) for a, b in sets] for unbiased in (True, False)]
    assert abs(np.mean(values[0])) < 3 * stats.sem(values[0]) < 0.04
    assert np.mean(values[1]) == pytest.approx(2 / 10 * np.sqrt(np.pi), abs=0.03)
    assert np.min(values[1]) > 0


def test_one_sample_has_only_the_biased_distance():
    x = np.random.default_rng(0).standard_normal((10, 2))
    with pytest.raises(ValueError, match=r"generated features must be numbers of shape \(n >= 2, dim >= 1\)"):
        energy.distance(x[:1], x)
    assert energy.distance(x[:1], x[:1] + np.array([3.0, 4.0]), unbiased=False) == pytest.approx(10)
