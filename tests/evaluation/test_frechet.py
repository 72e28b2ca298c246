"""The Frechet distance against SciPy's matrix root and closed forms, and its extrapolation."""

import warnings

import numpy as np
import pytest
import scipy.linalg

from diffax.evaluation import Moments, frechet


def gaussian(mean, covariance, count=1_000_000) -> Moments:
    """The moments of a set with this mean and unbiased covariance."""
    return Moments(count, np.asarray(mean, np.float64), np.asarray(covariance, np.float64) * (count - 1))


def scipys(a: Moments, b: Moments) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)  # a singular product has a root here all the same
        root = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    return np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance + b.covariance - 2 * np.real(root))


def correlated(rng, n, dim, rank):
    """n points of a rank-dimensional subspace."""
    return rng.standard_normal((n, rank)) @ rng.standard_normal((rank, dim)) + rng.standard_normal(dim)


@pytest.mark.parametrize(("dim", "n"), [(1, 10), (5, 40), (64, 500)])
def test_the_matrix_root(dim, n):
    rng = np.random.default_rng(0)
    a, b = Moments.of(correlated(rng, n, dim, dim)), Moments.of(correlated(rng, 2 * n, dim, dim))
    assert frechet.distance(a, b) == pytest.approx(scipys(a, b), rel=1e-6)


def test_singular_covariances_have_the_distance_of_their_subspace():
    """SciPy's root of a singular matrix is inexact; within the subspace, by an isometry, it is regular."""
    rng = np.random.default_rng(1)
    inside = [rng.standard_normal((300, 4)) @ rng.standard_normal((4, 4)) + rng.standard_normal(4) for _ in range(2)]
    isometry = np.linalg.qr(rng.standard_normal((32, 4)))[0].T
    expected = scipys(*map(Moments.of, inside))
    found = frechet.distance(*(Moments.of(x @ isometry) for x in inside))
    assert found == pytest.approx(expected, rel=1e-6)


def test_singular_covariances_of_different_subspaces():
    """In orthogonal subspaces (G R)^1/2 is 0; where only one is singular, SciPy's root still serves."""
    rng = np.random.default_rng(2)
    a, b = np.zeros((2, 200, 6))
    a[:, :3], b[:, 3:] = rng.standard_normal((2, 200, 3))
    expected = a.var(axis=0, ddof=1).sum() + b.var(axis=0, ddof=1).sum() + np.sum((a.mean(0) - b.mean(0)) ** 2)
    assert frechet.distance_between(a, b) == pytest.approx(expected, rel=1e-9)
    for sets in ((a, rng.standard_normal((200, 6))), (rng.standard_normal((200, 6)), b)):
        x, y = map(Moments.of, sets)
        assert frechet.distance(x, y) == pytest.approx(scipys(x, y), rel=1e-6)


def test_gaussians_in_closed_form():
    """Commuting covariances: |difference of means|^2 + the sum of squared differences of standard deviations."""
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    stds_a, stds_b = np.array([1.0, 2.0, 5.0]), np.array([2.0, 2.0, 0.5])
    a = gaussian([0, 0, 0], rotation @ np.diag(stds_a**2) @ rotation.T)
    b = gaussian([1, -2, 0], rotation @ np.diag(stds_b**2) @ rotation.T)
    assert frechet.distance(a, b) == pytest.approx(5 + 1 + 0 + 4.5**2, rel=1e-12)


def test_samples_of_any_shape_and_a_shift():
    x = np.random.default_rng(0).standard_normal((500, 3)) * np.array([1.0, 2.0, 0.0])
    assert frechet.distance_between(x, x + 2.0) == pytest.approx(12.0)
    images = np.random.default_rng(1).standard_normal((2, 100, 2, 2, 1))
    assert frechet.distance_between(*images) == frechet.distance_between(*images.reshape(2, 100, 4))


def test_identical_sets_are_0_and_equal_ones_never_negative():
    for seed, dim in ((0, 3), (1, 64), (2, 192)):
        x = np.random.default_rng(seed).standard_normal((100, dim)) * 10.0 ** np.linspace(-3, 3, dim)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert frechet.distance_between(x, x.copy()) == 0
            assert 0 <= frechet.distance_between(x, x[::-1]) < 1e-6 * x.var(axis=0).sum()


def test_too_few_samples_warn_of_the_bias():
    few, many = np.random.default_rng(0).standard_normal((10, 10)), np.random.default_rng(1).standard_normal((11, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet.distance_between(many, many + 1)
    for sets, what in (((few, many), "generated"), ((many, few), "reference")):
        with pytest.warns(UserWarning, match=rf"^10 {what} samples are too few for 10 features: .* biased upwards"):
            frechet.distance_between(*sets)


def test_constant_features_are_named_and_have_a_distance():
    constant, x = np.full((50, 3), 0.1), np.random.default_rng(0).standard_normal((50, 3))
    with pytest.warns(UserWarning, match="all 50 generated samples have the same features"):
        found = frechet.distance_between(constant, x)
    expected = np.sum((x.mean(axis=0) - 0.1) ** 2) + x.var(axis=0, ddof=1).sum()
    assert found == pytest.approx(expected)
    with pytest.warns(UserWarning, match="all 50 reference samples have the same features"):
        assert frechet.distance_between(x, constant) == pytest.approx(expected)


def test_what_has_no_distance_is_named():
    x = np.random.default_rng(0).standard_normal((100, 3))
    bad = x.copy()
    bad[[7, 40], 1] = np.nan, np.inf
    for sets in ((bad, x), (x, bad)):
        with pytest.raises(
            ValueError, match=r"^features of 2 of 100 samples are not finite .*: the first is number 7$"
        ):
            frechet.distance_between(*sets)
    with pytest.raises(ValueError, match="one dimension, got 3 generated and 2 reference"):
        frechet.distance(Moments.of(x), Moments.of(x[:, :2]))
    for sets in ((x, x[:1]), (x[:1], x)):
        with pytest.raises(ValueError, match="at least 2 samples, got 1"), pytest.warns(UserWarning, match="too few"):
            frechet.distance_between(*sets)
    with pytest.raises(ValueError, match="overflows"):
        frechet.distance(Moments.of(x), gaussian(np.zeros(3), np.full((3, 3), np.inf)))


def test_the_extrapolation_is_free_of_the_bias_of_few_samples():
    """Samples of the reference's own Gaussian: 0 but for the bias, which falls as 1 / n."""
    dim, reference = 24, gaussian(np.zeros(24), np.eye(24))
    x = np.random.default_rng(0).standard_normal((2000, dim))
    plain = frechet.distance(Moments.of(x), reference)
    found = frechet.extrapolated(x, reference, seed=0)
    # Of n samples of N(0, I): dim / n of the mean, and (dim^2 + dim) / 4 n of the covariance, to first order in 1 / n.
    assert plain == pytest.approx(dim / 2000 + dim * (dim + 1) / 8000, rel=0.1)
    assert abs(found.value) < 0.2 * plain
    assert 0 < found.standard_error < 0.1 * plain


def test_the_extrapolation_is_numpys_fit_to_its_subsets(monkeypatch):
    sizes, x = [], np.random.default_rng(0).standard_normal((1000, 3))

    def of_size(moments, reference, root):
        sizes.append(moments.count)
        return 7.0 + 300.0 / moments.count + (-1) ** len(sizes) * 0.01

    monkeypatch.setattr(frechet, "_distance", of_size)
    found = frechet.extrapolated(x, gaussian(np.zeros(3), np.eye(3)), seed=0, num_points=10, smallest=100)
    assert sizes == [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]
    values = 7.0 + 300.0 / np.array(sizes) + 0.01 * (-1) ** np.arange(1, 11)
    coefficients, covariance = np.polyfit(1 / np.array(sizes), values, 1, cov=True)
    assert found.value == pytest.approx(coefficients[1], rel=1e-12)
    assert found.standard_error == pytest.approx(np.sqrt(covariance[1, 1]), rel=1e-9)


def test_the_extrapolation_is_a_function_of_its_seed():
    x, reference = np.random.default_rng(0).standard_normal((200, 3)), gaussian(np.ones(3), np.eye(3))
    found = frechet.extrapolated(x, reference, seed=1)
    assert found == frechet.extrapolated(x, reference, seed=1) != frechet.extrapolated(x, reference, seed=2)
    assert found.value == pytest.approx(3, abs=0.5)


def test_an_extrapolation_from_too_little_is_refused():
    x, reference = np.random.default_rng(0).standard_normal((100, 3)), gaussian(np.zeros(3), np.eye(3))
    for smallest in (1, 100):
        with pytest.raises(ValueError, match=rf"from 2 to 99 of the 100 samples, got {smallest}"):
            frechet.extrapolated(x, reference, seed=0, smallest=smallest)
    with pytest.raises(ValueError, match="num_points must be >= 3, got 2"):
        frechet.extrapolated(x, reference, seed=0, num_points=2)
    with pytest.warns(UserWarning, match="3 generated samples are too few for 3 features"):
        frechet.extrapolated(x, reference, seed=0, smallest=3)


def test_the_ratio_to_held_out_data():
    reference = gaussian([0, 0], np.eye(2))
    far, near = (gaussian([shift, 0], np.eye(2)) for shift in (3, 1))
    assert frechet.ratio(far, near, reference) == pytest.approx(9)
    with pytest.raises(ValueError, match="as many held-out as generated ones, got 10 and 1000000"):
        frechet.ratio(far, gaussian([1, 0], np.eye(2), count=10), reference)
    with pytest.raises(ValueError, match="are they the reference set itself"):
        frechet.ratio(far, reference, reference)
