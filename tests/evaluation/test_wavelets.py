"""The Frechet wavelet distance: packets by means and differences of neighbouring pixels, distances in closed form."""

import numpy as np
import pytest

from diffax.evaluation import Moments, frechet, wavelets


def recursive(images, level):
    """The Haar wavelet packets by their recursion, in any order: a set of arrays (n, height, width, channels)."""
    if level == 0:
        return [images]
    halves = []
    for x in (images[:, ::2] + images[:, 1::2], images[:, ::2] - images[:, 1::2]):
        halves += [(x[:, :, ::2] + x[:, :, 1::2]) / 2, (x[:, :, ::2] - x[:, :, 1::2]) / 2]
    return [packet for half in halves for packet in recursive(half, level - 1)]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_packets_are_those_of_the_recursion(level):
    images = np.random.default_rng(0).uniform(size=(5, 8, 16, 3))
    found = wavelets.packets(images, level=level)
    expected = [packet.reshape(5, -1) for packet in recursive(images, level)]
    assert found.shape == (4**level, 5, 8 * 16 * 3 // 4**level)
    matches = [[np.allclose(packet, other, atol=1e-12) for other in expected] for packet in found]
    np.testing.assert_array_equal(np.sum(matches, axis=0), 1)
    np.testing.assert_array_equal(np.sum(matches, axis=1), 1)
    np.testing.assert_allclose((found**2).sum(), (images**2).sum())  # orthonormal


def test_a_brighter_set_differs_in_one_packet():
    """Brightness moves 4^level pixels' sum / 2^level, in each of the height width channels / 4^level coefficients."""
    images = np.random.default_rng(0).uniform(0, 0.5, (200, 8, 8, 1))
    expected = (0.25 * 4) ** 2 * (8 * 8 / 16) / 16
    assert wavelets.distance_between(images + 0.25, images, level=2) == pytest.approx(expected, rel=1e-9)


def test_it_is_the_mean_of_frechet_distances_over_packets(monkeypatch):
    monkeypatch.setattr(wavelets, "_IMAGES", 30)
    a, b = np.random.default_rng(0).uniform(size=(2, 100, 8, 8, 1))
    b = b**2
    packets = zip(recursive(a, 1), recursive(b, 1), strict=True)
    expected = np.mean([frechet.distance_between(x, y) for x, y in packets])
    assert wavelets.distance_between(a, b, level=1) == pytest.approx(expected, rel=1e-9)
    assert wavelets.distance_between(a, a, level=1) == 0


def test_bytes_are_divided_by_255_and_shards_merge():
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    for found, expected in zip(
        wavelets.moments(images, level=1), wavelets.packets(images / 255.0, level=1), strict=True
    ):
        np.testing.assert_allclose(found.covariance, np.cov(expected, rowvar=False), rtol=1e-9, atol=1e-12)
    parts = [wavelets.moments(part, level=1) for part in (images[:10], images[10:])]
    merged = tuple(a + b for a, b in zip(*parts, strict=True))
    assert wavelets.distance(merged, wavelets.moments(images, level=1)) == pytest.approx(0, abs=1e-8)


def test_images_that_do_not_fit_are_refused(unchecked):
    images = np.random.default_rng(0).uniform(size=(20, 8, 12, 1))
    with pytest.raises(ValueError, match="level 3 need images divisible by 8, got 8 x 12"):
        wavelets.packets(images, level=3)
    for bad in (images * 2 - 1, images * np.nan, (images * 255).astype(np.int64)):
        with pytest.raises(ValueError, match=r"must be uint8 or floats in \[0, 1\], got"):
            wavelets.packets(bad, level=1)
    for bad in (images[0], images[:0]):
        with pytest.raises(ValueError, match=r"images must have shape|at least one image"):
            wavelets.moments(bad, level=1)
    with pytest.raises(ValueError, match="level must be >= 1, got 0"):
        wavelets.packets(images, level=0)
    one, two = (wavelets.moments(images, level=level) for level in (1, 2))
    with pytest.raises(ValueError, match="packets of one level, got 4 generated and 16 reference"):
        wavelets.distance(one, two)
    assert isinstance(one[0], Moments)
