"""Pixel values: every Pillow mode in every format and from every source, against values computed by NumPy."""

import io

import numpy as np
import pytest
from PIL import Image

from diffax.data import decoding, files, folder, huggingface, pixels, source
from tests.data import pictures

SUFFIX = {"PNG": ".png", "TIFF": ".tiff", "JPEG": ".jpg", "WEBP": ".webp", "GIF": ".gif"}
FORM = decoding.Form((pictures.SIDE, pictures.SIDE, 3), False)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """{(mode, format): (what the folder gives, what huggingface gives, expected)}, all images in one set."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    root = tmp_path_factory.mktemp("modes")
    keys = [key for key in pictures.COMBINATIONS if key not in pictures.REFUSED]
    expected, cells = {}, []
    for index, (mode, kind) in enumerate(keys):
        image, expected[mode, kind] = pictures.picture(mode)
        cells.append({"bytes": pictures.encode(mode, image, kind), "path": None})
        for split in ("train", "test"):
            path = root / "folder" / split / f"{index:03d}{SUFFIX[kind]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cells[-1]["bytes"])
    (root / "hub").mkdir()
    for split in ("train", "test"):
        parquet.write_table(pyarrow.table({"image": cells}), root / "hub" / f"{split}.parquet")
    opened = (
        folder.open_folder("train", path=str(root / "folder"), channels=3),
        huggingface.open_huggingface("train", path=str(root / "hub"), channels=3),
    )
    loaded = [source.load(each).examples for each in opened]
    return {key: (loaded[0][i], loaded[1][i], expected[key]) for i, key in enumerate(keys)}


@pytest.mark.parametrize(("mode", "kind"), pictures.COMBINATIONS)
def test_every_mode_in_every_format(table, mode, kind):
    if (mode, kind) in pictures.REFUSED:
        content = pictures.encode(mode, pictures.picture(mode)[0], kind)
        with pytest.raises(decoding.CorruptExample, match=f"^it: {pictures.REFUSED[mode, kind]}"):
            FORM.decode(content, "it")
        return
    from_folder, from_hub, expected = table[mode, kind]
    np.testing.assert_array_equal(from_folder, from_hub)
    tolerance = 3 if mode in ("LAB", "HSV") else pictures.TOLERANCE[kind]
    np.testing.assert_allclose(from_folder, np.broadcast_to(expected, from_folder.shape), atol=tolerance)


@pytest.mark.parametrize(("mode", "kind"), pictures.COMBINATIONS)
def test_grey_images_are_told_from_colour_by_their_header(mode, kind):
    image, expected = pictures.picture(mode)
    header = decoding.header(pictures.encode(mode, image, kind), "it")
    is_grey = kind != "WEBP" and (expected is None or expected.shape[-1] == 1)  # WebP has no grey
    assert header.channels == (1 if is_grey else 3)
    assert (header.width, header.height) == (pictures.SIDE, pictures.SIDE)
    assert header.is_deep == (mode[0] in "IF")
    has_alpha = mode in ("LA", "PA", "RGBA", "RGBa", "P+transparency")
    assert header.is_transparent == has_alpha


LEVELS = np.array([[0, 255, 256, 1000], [12345, 40000, 65279, 65535]], np.uint16)


@pytest.mark.parametrize(
    ("dtype", "scaled"),
    [
        (np.bool_, lambda x: np.where(x, 255, 0)),
        (np.uint8, lambda x: x),
        (np.uint16, lambda x: np.floor(x / 256)),
        (">u2", lambda x: np.floor(x / 256)),
        (np.float32, lambda x: np.round(127.5 * (x.astype(np.float64) + 1))),
        (">f8", lambda x: np.round(127.5 * (x.astype(np.float64) + 1))),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_of_every_dtype(tmp_path, dtype, scaled, channels):
    rng, kind = np.random.default_rng(0), np.dtype(dtype).kind
    shape = (50, 4, 5, channels)
    top = 2 if kind == "b" else 256 ** np.dtype(dtype).itemsize
    images = (rng.uniform(-1, 1, shape) if kind == "f" else rng.integers(0, top, shape)).astype(dtype)
    np.savez(tmp_path / "a.npz", images=images)
    loaded = files.load_arrays("train", path=str(tmp_path / "a.npz"))
    assert loaded.examples.dtype == np.uint8 and loaded.num_levels == 256
    np.testing.assert_allclose(loaded.examples, scaled(images[:49]), atol=1e-6 if kind != "f" else 0.51)
    assert (kind in "bf" or np.dtype(dtype).itemsize == 2) == bool([n for n in loaded.notes if "a.npz: " in n])


def test_arrays_that_are_refused(tmp_path):
    for images, message in (
        (np.zeros((50, 4, 4), np.int32), "examples must be uint8, uint16 or bool images or floats, got int32"),
        (np.full((50, 4, 4), 255, np.uint16), "values up to 255 only would be black: store them as uint8"),
        (np.zeros((50, 3, 32, 32), np.uint8), "looks like .n, channels, height, width.: move the channels"),
        (np.zeros((50, 4), np.uint8), r"expected images \(n, height, width\[, channels\]\), got shape \(50, 4\)"),
        (np.zeros((50, 4, 4), np.complex64), "got complex64"),
    ):
        np.save(tmp_path / "a.npy", images)
        with pytest.raises(ValueError, match=message) as error:
            files.load_arrays("train", path=str(tmp_path / "a.npy"))
        assert "\n" not in str(error.value)


def test_16_bit_colours_and_the_rarer_kinds_of_transparency():
    deep = np.array([[1000, 2000, 3000], [65535, 256, 255]], ">u2")
    form = decoding.Form((1, 2, 3), False)
    np.testing.assert_array_equal(form.decode(pictures.png(2, 1, 16, 2, [deep.tobytes()]), "it")[0], deep >> 8)
    with pytest.raises(decoding.CorruptExample, match="16-bit colours of which one stands for transparent"):
        form.decode(pictures.png(2, 1, 16, 2, [deep.tobytes()], deep[0].tobytes()), "it")
    grey = np.array([1000, 40000], ">u2")
    half = decoding.Form((1, 2, 1), False, (0, 0, 0))
    assert half.decode(pictures.png(2, 1, 16, 0, [grey.tobytes()], grey[1:].tobytes()), "it").ravel().tolist() == [3, 0]
    # 2 bits: 0 1 2 3, of which 2 stands for transparent.
    content = pictures.png(4, 1, 2, 0, [bytes([0b00011011])], b"\0\2")
    quarter = decoding.Form((1, 4, 1), False)
    assert quarter.decode(content, "it").ravel().tolist() == [0, 85, 255, 255]
    # Grey and alpha of 16 bits, which Pillow reads as RGBA.
    content = pictures.png(2, 1, 16, 4, [np.array([1000, 65535, 2000, 0], ">u2").tobytes()])
    assert decoding.header(content, "it").channels == 1
    assert decoding.Form((1, 2, 1), False).decode(content, "it").ravel().tolist() == [3, 255]


def test_16_bit_tiff_with_white_at_zero_and_of_12_bits():
    levels = np.array([[0, 1000], [40000, 65535]], np.uint16)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "TIFF", tiffinfo={262: 0})
    decoded = decoding.Form((2, 2, 1), False).decode(file.getvalue(), "it")
    np.testing.assert_array_equal(decoded[..., 0], 255 - levels // 256)
    twelve = b"P5 2 1 4095\n" + np.array([4095, 2048], ">u2").tobytes()
    assert decoding.Form((1, 2, 1), False).decode(twelve, "it").ravel().tolist() == [255, 128]


def test_the_background_of_transparent_pixels():
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    for name, colour in (("white", (255,) * 3), ("black", (0,) * 3), ("#ff8000", (255, 128, 0))):
        form = decoding.Form((1, 2, 3), False, pixels.parse_colour(name))
        assert tuple(form.decode(pictures.encoded(image, "PNG"), "it")[0, 0]) == colour
    for name in ("red", "#12345", "#12345g", ""):
        with pytest.raises(ValueError, match=r"data\.background must be black, white or #rrggbb, got"):
            pixels.parse_colour(name)


def test_of_an_animation_the_first_frame_is_taken_and_it_is_said(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        frames[0].save(tmp_path / split / "a.gif", save_all=True, append_images=frames[1:])
    opened = folder.open_folder("train", path=str(tmp_path))
    assert opened.example(0).image[0, 0].tolist() == [255, 0, 0]
    assert opened.notes == (f"1 of 1 images are animated, of which the first frame is taken: {opened.files[0]}",)
