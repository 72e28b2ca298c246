import numpy as np
import pytest
from PIL import Image

from diffax.reporting import atomic, images


def test_pixels_round_to_the_nearest_level():
    levels = np.arange(256)
    np.testing.assert_array_equal(images.to_uint8(levels / 127.5 - 1), levels)
    assert images.to_uint8(np.array([-7.0, 7.0, np.nan, np.inf, -np.inf])).tolist() == [0, 255, 0, 255, 0]


def test_grid_places_images_row_by_row():
    batch = np.array([-1.0, 1.0, -1.0]).reshape(3, 1, 1, 1)
    g = 128
    expected = [[g, g, g, g, g], [g, 0, g, 255, g], [g, g, g, g, g], [g, 0, g, g, g], [g, g, g, g, g]]
    np.testing.assert_array_equal(images.grid(batch)[..., 0], expected)
    np.testing.assert_array_equal(images.grid(batch, num_columns=3, pad=0)[..., 0], [[0, 255, 0]])


def test_grid_keeps_shape_and_color():
    batch = np.zeros((10, 4, 6, 3), np.float32)
    batch[7] = [-1.0, 0.2, 1.0]
    picture = images.grid(batch, num_columns=5, pad=2)
    assert picture.shape == (2 * 6 + 2, 5 * 8 + 2, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[8:12, 18:24], np.broadcast_to([0, 153, 255], (4, 6, 3)))


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_other_numbers_of_channels_are_planes_side_by_side(tmp_path, channels):
    batch = np.random.default_rng(0).uniform(-1, 1, (3, 4, 6, channels)).astype(np.float32)
    picture = images.grid(batch, num_columns=1)
    assert picture.shape == (3 * 5 + 1, 6 * channels + 2, 1)
    for channel in range(channels):
        plane = np.rint((batch[2, ..., channel] + 1) * 127.5)
        np.testing.assert_array_equal(picture[11:15, 1 + 6 * channel : 7 + 6 * channel, 0], plane)
    images.save_png(tmp_path / "a.png", batch)
    assert Image.open(tmp_path / "a.png").mode == "L"


def test_png_is_enlarged_without_blur(tmp_path):
    path = tmp_path / "samples" / "10.png"
    batch = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 1)).astype(np.float32)
    images.save_png(path, batch)
    picture = np.asarray(Image.open(path))
    assert picture.shape == (6 * 10, 6 * 19)
    np.testing.assert_array_equal(picture[::6, ::6], images.grid(batch)[..., 0])
    np.testing.assert_array_equal(picture[5::6, 5::6], images.grid(batch)[..., 0])
    assert [p.name for p in path.parent.iterdir()] == ["10.png"]


def test_a_picture_is_what_the_png_shows(tmp_path):
    for batch, scale, size in (
        (np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)), None, (18 * 3, 35 * 3)),
        (np.random.default_rng(1).uniform(-1, 1, (2, 16, 16, 3)), 2, (18 * 2, 35 * 2)),
        (np.random.default_rng(2).integers(0, 256, (5, 7, 3), np.uint8), None, (5, 7)),
    ):
        picture = images.picture(batch, scale)
        assert picture.dtype == np.uint8 and picture.shape == (*size, 3)
        images.save_png(tmp_path / "a.png", batch, scale=scale)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), picture)


def test_color_picture_keeps_its_size(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    images.save_png(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), picture)


def test_npz_holds_the_arrays(tmp_path):
    images.save_npz(tmp_path / "a.npz", x=np.arange(3), y=np.eye(2))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert sorted(archive) == ["x", "y"]
        np.testing.assert_array_equal(archive["y"], [[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="array 'bad' holds Python objects"):
        images.save_npz(tmp_path / "b.npz", bad=np.array([None]))
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic.replacing(path) as file:
        file.write(b"half of the n")
        raise RuntimeError
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("shape", [(0, 8, 8, 1), (8, 8, 1), (2, 8, 8, 0), (2, 8, 8)])
def test_grid_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"expected images .* got shape"):
        images.grid(np.zeros(shape))


def test_bad_scale_or_picture(tmp_path):
    with pytest.raises(ValueError, match="scale must be >= 1, got 0"):
        images.save_png(tmp_path / "a.png", np.zeros((1, 2, 2, 1)), scale=0)
    with pytest.raises(ValueError, match=r"expected a uint8 picture .* got float64 \(2, 2, 1\)"):
        images.save_png(tmp_path / "a.png", np.zeros((2, 2, 1)))
    with pytest.raises(ValueError, match="num_columns must be >= 1, got 0"):
        images.grid(np.zeros((1, 2, 2, 1)), num_columns=0)
