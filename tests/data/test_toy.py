import numpy as np
import pytest

from diffax.data import order, toy

NAMES = ("swiss_roll", "two_moons", "eight_gaussians", "checkerboard", "pinwheel")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_mean_zero_and_variance_one_on_both_axes(name, split):
    x = toy.load(name, split, num_points=100_000).examples
    assert x.shape == (100_000, 2) and x.dtype == np.float32
    # Four standard errors of a mean; the fourth moments of these distributions are below 6.
    np.testing.assert_allclose(x.astype(np.float64).mean(axis=0), 0, atol=4 / np.sqrt(100_000))
    np.testing.assert_allclose(x.astype(np.float64).var(axis=0), 1, atol=4 * np.sqrt(5 / 100_000))


@pytest.mark.parametrize("name", NAMES)
def test_splits_and_seeds_are_independent_draws(name):
    draws = [
        toy.load(name, split, num_points=500, seed=seed).examples for split in ("train", "test") for seed in (0, 1)
    ]
    again = toy.load(name, "train", num_points=500, seed=0).examples
    np.testing.assert_array_equal(draws[0], again)
    together = np.concatenate(draws)
    assert len(np.unique(together, axis=0)) == len(together)


def test_eight_gaussians_sit_on_a_circle():
    x = toy.load("eight_gaussians", num_points=40_000).examples
    # Unit circle and deviation 0.1, over the standard deviation sqrt(1/2 + 0.01) of a coordinate.
    sector = np.rint(np.arctan2(x[:, 1], x[:, 0]) / (np.pi / 4)).astype(int) % 8
    np.testing.assert_allclose(np.bincount(sector) / len(x), 1 / 8, atol=0.01)
    angle = np.arange(8) * np.pi / 4
    centers = np.stack([np.cos(angle), np.sin(angle)], axis=1) / np.sqrt(0.51)
    np.testing.assert_allclose(np.stack([x[sector == s].mean(axis=0) for s in range(8)]), centers, atol=0.02)
    np.testing.assert_allclose(np.std(x - centers[sector]), 0.1 / np.sqrt(0.51), rtol=0.02)


def test_checkerboard_fills_every_other_square():
    x = toy.load("checkerboard", num_points=20_000).examples * np.sqrt(4 / 3)
    square = np.floor(x + 1e-6).astype(int)
    assert set(np.unique(square)) == {-2, -1, 0, 1}
    assert (square.sum(axis=1) % 2 == 0).mean() > 0.999
    _, counts = np.unique(square[square.sum(axis=1) % 2 == 0], axis=0, return_counts=True)
    np.testing.assert_allclose(counts / len(x), 1 / 8, atol=0.012)


def test_two_moons_are_two_half_circles():
    x = toy.load("two_moons", num_points=20_000).examples * np.sqrt([0.76, 0.2541902]) + [0.5, 0.25]
    upper = np.abs(np.hypot(x[:, 0], x[:, 1]) - 1) + 10 * (x[:, 1] < -0.4)
    lower = np.abs(np.hypot(x[:, 0] - 1, x[:, 1] - 0.5) - 1) + 10 * (x[:, 1] > 0.9)
    assert np.minimum(upper, lower).max() < 0.55  # five deviations of the noise
    assert 0.45 < (upper < lower).mean() < 0.55


def test_pinwheel_has_five_fold_symmetry():
    x = toy.load("pinwheel", num_points=100_000).examples
    z = (x[:, 0] + 1j * x[:, 1]) / np.abs(x[:, 0] + 1j * x[:, 1])
    harmonics = np.abs([np.mean(z**k) for k in range(1, 6)])
    assert (harmonics[:4] < 0.015).all() and harmonics[4] > 0.1


def test_swiss_roll_is_a_spiral():
    x = toy.load("swiss_roll", num_points=20_000).examples * np.sqrt([44.114321, 48.569290]) + [2.0, 0.2122066]
    radius, angle = np.hypot(x[:, 0], x[:, 1]), np.arctan2(x[:, 1], x[:, 0])
    # On the noiseless spiral radius and angle are the same number, up to full turns.
    off = (radius - angle + np.pi) % (2 * np.pi) - np.pi
    assert np.std(off) < 0.6 and abs(np.mean(off)) < 0.05
    assert 1.5 * np.pi - 2.5 < radius.min() and radius.max() < 4.5 * np.pi + 2.5


def test_bad_requests():
    with pytest.raises(ValueError, match="unknown toy distribution 'moons', expected one of: " + ", ".join(NAMES)):
        toy.load("moons")
    with pytest.raises(ValueError, match="unknown split 'all' of pinwheel, expected one of: train, test"):
        toy.load("pinwheel", "all")
    with pytest.raises(ValueError, match="num_points >= 1 and seed >= 0, got 0 and 3"):
        toy.load("pinwheel", num_points=0, seed=3)


@pytest.mark.parametrize("name", toy.DISTRIBUTIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_batch_of_the_first_epoch_is_spread_as_the_data_are(name, seed):
    """Points drawn with the random numbers that shuffle them would be visited in order, from one end to the other."""
    examples = toy.load(name).examples
    batch = examples[order.epoch(len(examples), seed, 0)[:512]]
    # The standard deviation of 512 points has a standard error of 3%.
    np.testing.assert_allclose(batch.std(axis=0), 1, atol=0.15)
