"""The kernel distance against sums over pairs written out, and its expectation for equal distributions."""

import itertools

import numpy as np
import pytest

from diffax.evaluation import _checks, kernel


def pair_by_pair(a, b):
    def k(x, y):
        return (sum(u * v for u, v in zip(x, y, strict=True)) / len(x) + 1) ** 3

    within = [np.mean([k(x, y) for x, y in itertools.permutations(samples, 2)]) for samples in (a, b)]
    return sum(within) - 2 * np.mean([k(x, y) for x in a for y in b])


def test_the_unbiased_mmd_is_its_sum_over_pairs(monkeypatch):
    monkeypatch.setattr(_checks, "ROWS", 5)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((12, 4)), rng.standard_normal((17, 4)) * 2 + 0.5
    assert kernel.squared_mmd(a, b) == pytest.approx(pair_by_pair(a, b), rel=1e-12)
    assert kernel.squared_mmd(a.astype(np.float32), b) == pytest.approx(pair_by_pair(a, b), rel=1e-5)
    assert kernel.squared_mmd(a[:2], b[:2]) == pytest.approx(pair_by_pair(a[:2], b[:2]), rel=1e-12)


def test_equal_distributions_have_a_distance_of_0_within_its_error():
    """The biased estimate of the same subsets of 50 would be 35 standard errors off."""
    rng = np.random.default_rng(0)
    found = kernel.distance(*rng.standard_normal((2, 10_000, 8)), seed=0, num_subsets=100, subset_size=50)
    assert abs(found.value) < 3 * found.standard_error
    assert found.standard_error < 0.02


def test_a_shift_in_closed_form():
    """With one dimension and X ~ N(0, 1), Y = X + c: MMD^2 = sum_p w_p (E X^p - E Y^p)^2 with w = 1, 3, 3, 1."""
    c, rng = 0.7, np.random.default_rng(0)
    x, y = rng.standard_normal((2, 4000, 1))
    expected = 3 * c**2 + 3 * (c**2) ** 2 + (c**3 + 3 * c) ** 2
    assert kernel.squared_mmd(x, y + c) == pytest.approx(expected, rel=0.1)
    found = kernel.distance(x, y + c, seed=0, num_subsets=40, subset_size=500)
    assert abs(found.value - expected) < 4 * found.standard_error


def test_mean_and_error_over_subsets_are_functions_of_the_seed(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((30, 3)), rng.standard_normal((40, 3))
    options = dict(num_subsets=4, subset_size=20)
    assert kernel.distance(a, b, seed=1, **options) == kernel.distance(a, b, seed=1, **options)
    assert kernel.distance(a, b, seed=1, **options) != kernel.distance(a, b, seed=2, **options)
    whole = kernel.distance(a, b[:30], seed=0, num_subsets=3, subset_size=30)
    assert whole.value == pytest.approx(kernel.squared_mmd(a, b[:30]), rel=1e-9)  # subsets without replacement
    assert np.isnan(whole.standard_error)  # all subsets are the same one
    values = iter([1.0, 2.0, 3.0, 6.0])
    monkeypatch.setattr(kernel, "_squared_mmd", lambda x, y: next(values))
    found = kernel.distance(a, b, seed=0, **options)
    assert found.value == 3 and found.standard_error == pytest.approx(np.sqrt((4 + 1 + 0 + 9) / 3) / 2)


def test_subsets_larger_than_a_set_are_refused():
    x = np.random.default_rng(0).standard_normal((30, 3))
    with pytest.raises(ValueError, match=r"subset_size is 31, .* got 30 generated and 30 reference ones"):
        kernel.distance(x, x, seed=0, subset_size=31)
    for option in ("num_subsets", "subset_size"):
        with pytest.raises(ValueError, match=f"{option} must be >= 2, got 1"):
            kernel.distance(x, x, seed=0, **({"subset_size": 10} | {option: 1}))
