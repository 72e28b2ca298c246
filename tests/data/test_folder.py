"""Image folders: formats, sizes, classes, and errors."""

import numpy as np
import pytest
from PIL import Image

from diffax.data import folder, source
from diffax.data.dataset import HELD_OUT_EVERY

RNG = np.random.default_rng(0)


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def colour(height=8, width=8):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def classes(root, per_class=3):
    """root/train and root/test with classes cat and dog, PNG; {(split, class, index): pixels}."""
    return {
        (split, name, i): write(root / split / name / f"{i:03d}.png", colour())
        for split in ("train", "test")
        for name in ("dog", "cat")
        for i in range(per_class)
    }


def test_classes_are_the_folders_in_order(tmp_path):
    truth = classes(tmp_path)
    for split in ("train", "test"):
        loaded = source.load(folder.open_folder(split, path=str(tmp_path)))
        assert loaded.num_classes == 2 and loaded.labels.tolist() == [0, 0, 0, 1, 1, 1]
        expected = np.stack([truth[split, name, i] for name in ("cat", "dog") for i in range(3)])
        np.testing.assert_array_equal(loaded.examples, expected)


def test_without_splits_every_50th_file_is_held_out(tmp_path):
    pixels = [write(tmp_path / f"{i:04d}.png", colour(4, 4)) for i in range(2 * HELD_OUT_EVERY)]
    train, test = (source.load(folder.open_folder(split, path=str(tmp_path))) for split in ("train", "test"))
    assert len(train) == 98 and train.labels is None
    np.testing.assert_array_equal(test.examples, [pixels[49], pixels[99]])


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".gif", ".tiff", ".jpg"])
def test_any_format_of_pillow(tmp_path, suffix):
    options = {"lossless": True} if suffix == ".webp" else {"quality": 95} if suffix == ".jpg" else {}
    grey = np.full((4, 4), 200, np.uint8)
    for i in range(HELD_OUT_EVERY):
        write(tmp_path / f"{i:02d}{suffix}", grey, **options)
    opened = folder.open_folder("test", path=str(tmp_path), channels=1)
    assert opened.shape == (4, 4, 1)
    np.testing.assert_allclose(opened.example(0).image, 200, atol=2)


def test_the_central_square_is_resized_and_antialiased(tmp_path):
    stripes = np.zeros((16, 32, 3), np.uint8)
    stripes[:, 8:24] = np.where(np.arange(16) % 2, 255, 0)[None, :, None]  # one pixel wide, in the middle
    stripes[:, :8], stripes[:, 24:] = 255, 0
    write(tmp_path / "train" / "a.png", stripes)
    write(tmp_path / "test" / "a.png", stripes)
    image = folder.open_folder("train", path=str(tmp_path), size=4).example(0).image
    # The margins are cut off, and stripes too fine to be seen become grey instead of black or white.
    assert image.shape == (4, 4, 3) and abs(image.astype(int) - 127).max() < 40


def test_images_lie_as_their_camera_says(tmp_path):
    pixels = colour(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    for split in ("train", "test"):
        write(tmp_path / split / "a.png", pixels, exif=exif)
    opened = folder.open_folder("train", path=str(tmp_path))
    np.testing.assert_array_equal(opened.example(0).image, np.rot90(pixels, -1))


def test_grey_and_colour_may_be_mixed_once_it_is_said_which_is_wanted(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / split / "a.png", colour())
        write(tmp_path / split / "b.png", colour()[..., 0])
        write(tmp_path / split / "c.png", np.dstack([colour(), colour()[..., 0]]))  # transparency
    for channels in (1, 3):
        assert source.load(folder.open_folder("train", path=str(tmp_path), channels=channels)).shape == (8, 8, channels)


def broken(root, kind):
    classes(root)
    path = root / "train" / "cat" / "001.png"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path.write_text("not an image")


@pytest.mark.parametrize("kind", ["truncated", "empty", "text"])
def test_a_corrupt_file_is_named_or_skipped(tmp_path, kind):
    broken(tmp_path, kind)
    opened = folder.open_folder("train", path=str(tmp_path))
    with pytest.raises(source.CorruptExample, match=r"train/cat/001.png: unreadable image .*data.on_corrupt='skip'"):
        source.load(opened)
    loaded = source.load(opened, skip=True)
    assert loaded.num_replaced == 1
    # The next one stands in; nothing else moves.
    np.testing.assert_array_equal(loaded.examples[1], loaded.examples[2])
    assert loaded.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_where_nothing_can_be_read_that_is_said(tmp_path):
    classes(tmp_path)
    opened = folder.open_folder("train", path=str(tmp_path))
    for path in opened.files:
        path.write_bytes(b"gone")
    with pytest.raises(source.CorruptExample, match="none of its 6 examples can be decoded"):
        source.load(opened, skip=True)


def test_bad_folders(tmp_path):
    with pytest.raises(ValueError, match=r"data\.name = 'folder' needs data\.path: --config\.data\.path=\.\.\."):
        folder.open_folder("train")
    with pytest.raises(ValueError, match="is not a folder"):
        folder.open_folder("train", path=str(tmp_path / "no"))
    with pytest.raises(ValueError, match="no images, nor folders of them"):
        folder.open_folder("train", path=str(tmp_path))
    classes(tmp_path)
    (tmp_path / "train" / "horse").mkdir()
    with pytest.raises(ValueError, match=r"train/horse: the class has no images"):
        folder.open_folder("train", path=str(tmp_path))
    (tmp_path / "train" / "horse").rmdir()
    write(tmp_path / "train" / "dog" / "big.png", colour(9, 8))
    with pytest.raises(ValueError, match=r"big.png: has 8 x 9 pixels and most images 8 x 8: set data.size"):
        source.load(folder.open_folder("train", path=str(tmp_path)))
    for options, message in (({"size": 0}, "data.size must be >= 1"), ({"channels": 2}, "data.channels must be 1")):
        with pytest.raises(ValueError, match=message):
            folder.open_folder("train", path=str(tmp_path), **options)


def test_too_few_to_hold_one_out(tmp_path):
    write(tmp_path / "a.png", colour())
    with pytest.raises(ValueError, match="1 examples are too few, one of 50 is held out"):
        folder.open_folder("test", path=str(tmp_path))
