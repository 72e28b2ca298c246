"""Resizes against Pillow called by hand and against TensorFlow 1's formula in float64."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffax.evaluation.features import resize


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(("name", "filter"), [("bicubic", Image.BICUBIC), ("bilinear", Image.BILINEAR)])
@pytest.mark.parametrize("shape", [(2, 9, 14, 3), (2, 40, 31, 1), (1, 20, 40, 3)])
def test_pillows_resize(name, filter, shape):
    images = random_images(*shape)
    ours = resize.pillow(images, 20, filter=name)
    assert ours.dtype == np.uint8 and ours.shape == (shape[0], 20, 20, shape[3])
    for image, resized in zip(images, ours, strict=True):
        for channel in range(shape[3]):
            theirs = Image.fromarray(image[..., channel]).resize((20, 20), filter)
            np.testing.assert_array_equal(resized[..., channel], np.asarray(theirs))


def test_images_of_that_size_stay_as_they_are():
    images = random_images(2, 8, 8, 3)
    assert resize.pillow(images, 8, filter="bicubic") is images


def test_pillow_antialiases():
    """Every second pixel white: a fourfold reduction gives grey, where sampling four pixels of 16 would not."""
    images = np.zeros((1, 32, 32, 1), np.uint8)
    images[:, ::2, ::2] = 255
    small = resize.pillow(images, 8, filter="bilinear")[0, 1:-1, 1:-1, 0]
    assert np.abs(small.astype(float) - 255 / 4).max() <= 1


@pytest.mark.parametrize("shape", [(2, 7, 5, 3), (1, 23, 40, 1)])
def test_tensorflow1s_bilinear_resize(shape):
    """Its kernel: in = i * scale, lower = floor(in), upper = min(lower + 1, size - 1), lerp = in - lower."""
    images, size = random_images(*shape), 13
    expected = np.empty((shape[0], size, size, shape[3]))
    for y in range(size):
        for x in range(size):
            source_y, source_x = y * shape[1] / size, x * shape[2] / size
            top, left = int(source_y), int(source_x)
            bottom, right = min(top + 1, shape[1] - 1), min(left + 1, shape[2] - 1)
            corners = images.astype(float)
            upper = corners[:, top, left] + (corners[:, top, right] - corners[:, top, left]) * (source_x - left)
            lower = corners[:, bottom, left] + (corners[:, bottom, right] - corners[:, bottom, left]) * (
                source_x - left
            )
            expected[:, y, x] = upper + (lower - upper) * (source_y - top)
    ours = resize.tensorflow1_bilinear(jnp.asarray(images), size)
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, expected, atol=2e-3)  # positions are float32, as TensorFlow's


def test_the_matrix_of_bicubic_interpolation():
    """Half way between two values Keys' kernel with a = -0.75 is a/8, (4 - a)/8, (4 - a)/8, a/8."""
    matrix = resize.bicubic_matrix(8, 4, scale=0.5)
    np.testing.assert_allclose(matrix[1], [0, -0.09375, 0.59375, 0.59375, -0.09375, 0, 0, 0], atol=1e-15)
    np.testing.assert_allclose(matrix[0, :3], [0.5, 0.59375, -0.09375], atol=1e-15)  # the edge is repeated
    np.testing.assert_allclose(resize.bicubic_matrix(37, 16, scale=16.1 / 37).sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(resize.bicubic_matrix(5, 5, scale=1.0), np.eye(5))
