"""The Frechet and sliced Wasserstein distances against closed forms."""

import numpy as np
import pytest
import scipy.linalg

from diffax.evaluation import frechet, sliced_wasserstein


def test_frechet_of_gaussians_against_the_matrix_root():
    rng = np.random.default_rng(0)
    a, b = (m @ m.T for m in rng.standard_normal((2, 5, 5)))
    mean_a, mean_b = rng.standard_normal((2, 5))
    root = scipy.linalg.sqrtm(a @ b).real
    expected = np.sum((mean_a - mean_b) ** 2) + np.trace(a + b - 2 * root)
    assert frechet.distance(mean_a, a, mean_b, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_of_singular_covariances_and_of_a_shift():
    x = np.random.default_rng(0).standard_normal((500, 3)) * np.array([1.0, 2.0, 0.0])
    assert frechet.distance_between(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet.distance_between(x, x + 2.0) == pytest.approx(12.0)


def test_frechet_of_identical_sets_is_0_and_of_equal_ones_never_negative():
    for seed, dim in ((0, 3), (1, 64), (2, 192)):
        x = np.random.default_rng(seed).standard_normal((100, dim)) * 10.0 ** np.linspace(-3, 3, dim)
        assert frechet.distance_between(x, x.copy()) == 0
        assert 0 <= frechet.distance_between(x, x[::-1]) < 1


def test_features_that_are_not_finite_are_named():
    x = np.random.default_rng(0).standard_normal((100, 3))
    bad = x.copy()
    bad[[7, 40], 1] = np.nan, np.inf
    for sets in ((bad, x), (x, bad)):
        with pytest.raises(
            ValueError, match=r"^features of 2 of 100 samples are not finite .*: the first is number 7$"
        ):
            frechet.distance_between(*sets)
        with pytest.raises(ValueError, match="not all finite"):
            sliced_wasserstein.distance(*sets)


def test_frechet_moments_take_images_and_refuse_less():
    mean, covariance = frechet.moments(np.arange(8.0).reshape(4, 2))
    np.testing.assert_allclose(mean, [3, 4])
    np.testing.assert_allclose(covariance, np.full((2, 2), 20 / 3))
    with pytest.raises(ValueError, match=r"\(n >= 2, dim\)"):
        frechet.moments(np.zeros((1, 3)))


def test_sliced_wasserstein_of_a_shift_is_its_projection():
    """Moved by v, every projection moves by v . u, whose mean square over directions is |v|^2 / dim."""
    x = np.random.default_rng(0).standard_normal((100, 2))
    distance = sliced_wasserstein.distance(x, x + np.array([3.0, 4.0]), num_directions=20_000)
    assert distance == pytest.approx(5 / np.sqrt(2), rel=0.02)
    assert sliced_wasserstein.distance(x, x[::-1]) == 0
    with pytest.raises(ValueError, match="same shape"):
        sliced_wasserstein.distance(x, x[:50])
