"""Data augmentation: images, pixel by pixel, and the labels of their transformations."""

import jax
import jax.numpy as jnp
import numpy as np

from diffax.data import augment

geometric = jax.jit(augment.geometric, static_argnames="probability")
KEYS = jax.random.split(jax.random.key(0), 400)
X = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (400, 8, 8, 3)), jnp.float32)


def test_half_of_the_images_are_mirrored_each_by_its_own_key():
    images = np.asarray(augment.flipped(KEYS, X))
    mirrored = (images == X[:, :, ::-1]).all((1, 2, 3))
    unchanged = (images == X).all((1, 2, 3))
    assert (mirrored ^ unchanged).all() and abs(mirrored.mean() - 0.5) < 0.1
    np.testing.assert_array_equal(augment.flipped(KEYS[7:9], X[7:9]), images[7:9])


def test_uniform_noise_fills_every_level():
    pixels = jnp.asarray(np.random.default_rng(0).integers(0, 256, (400, 50)), jnp.uint8)
    got = np.asarray(augment.dequantized(KEYS, pixels, 256), float)
    noise = (got + 1) * 128 - np.asarray(pixels, float)
    assert noise.min() > -1e-4 and noise.max() < 1 + 1e-4
    assert abs(noise.mean() - 0.5) < 4 / np.sqrt(12 * noise.size) and abs(noise.var() - 1 / 12) < 2e-3


def test_an_image_left_alone_is_exact_and_its_label_is_zero():
    images, labels = geometric(KEYS, X, probability=0.0)
    flipped = np.asarray(labels[:, 0]) == 1
    np.testing.assert_array_equal(labels[:, 1:], 0)
    np.testing.assert_array_equal(images[~flipped], X[~flipped])
    np.testing.assert_array_equal(images[flipped], X[flipped][:, :, ::-1])
    assert abs(flipped.mean() - 0.5) < 0.1


def test_labels_are_drawn_as_often_and_as_wide_as_the_paper_says():
    """arXiv:2206.00364, table 6: each with probability 0.12, scaling and stretching by 2^(0.2 w), shifts of 0.125 w."""
    _, labels = geometric(jax.random.split(jax.random.key(1), 4000), jnp.zeros((4000, 2, 2, 1)))
    labels = np.asarray(labels, float)
    assert labels.shape == (4000, augment.NUM_GEOMETRIC)
    used = (np.abs(labels) > 0).mean(0)
    np.testing.assert_allclose(used[0], 0.5, atol=0.03)
    np.testing.assert_allclose(used[1], 0.06, atol=0.02)  # a mirroring of half of them
    np.testing.assert_allclose(used[[2, 3, 4, 5, 7, 8]], 0.12, atol=0.025)
    np.testing.assert_allclose(used[6], 0.06, atol=0.02)  # stretched along an axis of their own, half of them
    for column in (2, 7, 8):
        drawn = labels[labels[:, column] != 0, column]
        np.testing.assert_allclose([drawn.mean(), drawn.std()], [0, 1], atol=0.15)
    turned = labels[labels[:, 4] != 0]
    np.testing.assert_allclose((turned[:, 3] + 1) ** 2 + turned[:, 4] ** 2, 1, atol=1e-5)


def bump(x, y, size=32):
    """A smooth spot at (x, y) pixels from the centre."""
    across = np.arange(size) + 0.5 - size / 2
    return np.exp(-((across[None] - x) ** 2 + (across[:, None] - y) ** 2) / 18)[..., None].astype(np.float32)


def peak(image):
    """Where the image is brightest, between pixels by the weights of its neighbours."""
    weight = np.asarray(image, float)[..., 0]
    row, column = np.unravel_index(np.argmax(weight), weight.shape)
    near = weight[row - 1 : row + 2, column - 1 : column + 2] ** 6
    return (
        np.array([column, row])
        + 0.5
        - len(weight) / 2
        + [near.sum(0) @ [-1, 0, 1] / near.sum(), near.sum(1) @ [-1, 0, 1] / near.sum()]
    )


def rotation(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def test_a_spot_lands_where_its_label_says():
    """Scaling, rotation, anisotropic scaling and shift of a point in this order, from the label alone, in NumPy."""
    num = 300
    spot = np.array([3.0, -2.0])
    images, labels = geometric(
        jax.random.split(jax.random.key(2), num), jnp.tile(bump(*spot)[None], (num, 1, 1, 1)), probability=0.35
    )
    checked = 0
    for image, label in zip(np.asarray(images), np.asarray(labels, float), strict=True):
        flip_x, flip_y, scale, cos, sin, along, across, *shift = label
        point = spot * [1 - 2 * flip_x, 1 - 2 * flip_y] * 2 ** (0.2 * scale)
        angle = np.arctan2(sin, cos + 1)
        point = rotation(-angle) @ point
        size, turn = np.hypot(along, across), rotation(-np.arctan2(across, along))
        point = turn @ (np.diag([2 ** (0.2 * size), 2 ** (-0.2 * size)]) @ (turn.T @ point))
        point = point + 0.125 * 32 * np.array(shift)
        # Well inside the image, and only where reflections of the spot, which are as bright, stay outside.
        if np.abs(point).max() < 6 and scale > -0.5 and size < 0.5:
            np.testing.assert_allclose(peak(image), point, atol=0.75)
            checked += 1
    assert checked > 100


def test_images_are_padded_by_reflection():
    """cos(pi k X / side), X from the left edge, is its own reflection at both edges: seen anywhere, it is that wave."""
    num, side = 200, 32
    edges = (np.arange(side) + 0.5) / side
    image = np.cos(np.pi * edges)[None, :, None] + 0.5 * np.cos(2 * np.pi * edges)[:, None, None]
    images, labels = geometric(
        jax.random.split(jax.random.key(3), num), jnp.tile(jnp.asarray(image, jnp.float32)[None], (num, 1, 1, 1)),
        probability=0.5,
    )  # fmt: skip
    centres = np.stack(np.meshgrid(np.arange(side) + 0.5 - side / 2, np.arange(side) + 0.5 - side / 2)).reshape(2, -1)
    outside = 0
    for moved, label in zip(np.asarray(images, float), np.asarray(labels, float), strict=True):
        flip_x, flip_y, scale, cos, sin, along, across, *shift = label
        if along or across:  # a label does not tell a stretch along an axis from a squeeze
            continue
        forward = rotation(-np.arctan2(sin, cos + 1)) * 2 ** (0.2 * scale)
        x, y = np.linalg.solve(forward, centres - 0.125 * side * np.array(shift)[:, None])
        x, y = x * (1 - 2 * flip_x), y * (1 - 2 * flip_y)
        expected = np.cos(np.pi * (x / side + 0.5)) + 0.5 * np.cos(2 * np.pi * (y / side + 0.5))
        assert np.abs(moved.ravel() - expected).max() < 0.02
        outside += np.mean(np.maximum(np.abs(x), np.abs(y)) > side / 2)
    assert outside > 4  # images' worth of pixels lie beyond the edges
