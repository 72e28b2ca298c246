"""The sliced Wasserstein distance of a shift, and of sets of different sizes by repeating their points."""

import numpy as np
import pytest

from diffax.evaluation import sliced_wasserstein


def test_a_shift_is_its_projection():
    """Moved by v, every projection moves by v . u, whose mean square over directions is |v|^2 / dim."""
    x = np.random.default_rng(0).standard_normal((100, 2))
    distance = sliced_wasserstein.distance(x, x + np.array([3.0, 4.0]), num_directions=20_000)
    assert distance == pytest.approx(5 / np.sqrt(2), rel=0.02)
    assert sliced_wasserstein.distance(x, x[::-1]) == 0


def test_in_one_dimension_it_is_the_distance_of_quantile_functions():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((6, 1)), rng.standard_normal((4, 1)) + 1
    repeated = np.sort(np.repeat(a, 2, axis=0), axis=0) - np.sort(np.repeat(b, 3, axis=0), axis=0)
    for sets in ((a, b), (b, a)):
        assert sliced_wasserstein.distance(*sets) == pytest.approx(np.sqrt(np.mean(repeated**2)), rel=1e-12)


def test_sets_of_different_sizes_are_as_their_repetitions(monkeypatch):
    monkeypatch.setattr(sliced_wasserstein, "_DIRECTIONS", 7)
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((21, 3)), rng.standard_normal((35, 3)) * 2
    expected = sliced_wasserstein.distance(np.repeat(a, 5, axis=0), np.repeat(b, 3, axis=0), num_directions=50)
    assert sliced_wasserstein.distance(a, b, num_directions=50) == pytest.approx(expected, rel=1e-12)
    assert sliced_wasserstein.distance(a, a[:1], num_directions=50) > 0
    with pytest.raises(ValueError, match="num_directions must be >= 1, got 0"):
        sliced_wasserstein.distance(a, b, num_directions=0)
