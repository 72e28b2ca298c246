"""Damaged files: images, NumPy files, Parquet and idx files with seeded mutations are loaded or refused in one line."""

import io
import os
import warnings

import numpy as np
import pytest
from PIL import Image

from diffax.data import decoding, files, huggingface, idx, source
from tests.data import archives, pictures

# In the suite; DIFFAX_MUTATIONS=2000 for a longer run.
MUTATIONS = int(os.environ.get("DIFFAX_MUTATIONS", 200))
KINDS = {"PNG": 30, "TIFF": 30, "JPEG": 25, "WEBP": 15, "GIF": 15, "BMP": 10, "PPM": 5}
KINDS |= {"npz": 20, "npy": 10, "idx": 20, "parquet": 20}


def seeds():
    """(kind, seed) of every mutation; KINDS are the numbers in 200."""
    return [(kind, seed) for kind, count in KINDS.items() for seed in range(count * MUTATIONS // 200)]


def mutated(content, rng):
    """The content with bytes changed, cut out, repeated or cut off."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        place, length = int(rng.integers(len(data))), int(rng.integers(1, 16))
        match rng.integers(6):
            case 0:
                data[place] ^= 1 << int(rng.integers(8))
            case 1:
                data[place : place + length] = rng.bytes(length)
            case 2:
                del data[place : place + length]
            case 3:
                data[place:place] = data[place : place + length]
            case 4:
                data[place : place + 4] = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4))[rng.integers(3)]
            case _:
                data = data[: place + 1]
        data = data or bytearray(b"\0")
    return bytes(data)


def sound(kind, rng):
    """The bytes of a file without damage."""
    if kind in ("npz", "npy"):
        images, file = rng.integers(0, 256, (50, 4, 4), dtype=np.uint8), io.BytesIO()
        np.savez(file, images=images, labels=np.arange(50) % 3) if kind == "npz" else np.save(file, images)
        return file.getvalue()
    if kind == "idx":
        return archives.idx(rng.integers(0, 256, (5, 4, 4), dtype=np.uint8))
    if kind == "parquet":
        return parquet_file(rng)
    modes = {"BMP": ["L", "RGB", "P"], "PPM": ["L", "RGB"]}.get(kind) or pictures.WRITTEN[kind]
    modes = [mode for mode in modes if (mode, kind) not in pictures.REFUSED]
    mode = modes[rng.integers(len(modes))]
    return pictures.encode(mode, pictures.picture(mode)[0], kind)


def parquet_file(rng):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    images = rng.integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
    cells = [pictures.encoded(Image.fromarray(image), "PNG") for image in images]
    file = io.BytesIO()
    parquet.write_table(pyarrow.table({"image": cells, "label": [k % 3 for k in range(50)]}), file)
    return file.getvalue()


def load(kind, path):
    if kind in ("npz", "npy"):
        return files.load_arrays("train", path=str(path)).examples
    if kind == "idx":
        return idx.read(path)
    if kind == "parquet":
        return source.load(huggingface.open_huggingface("train", path=str(path)), skip=True).examples
    return decoding.Form((8, 8, 3), True).decode(path, str(path))


@pytest.mark.parametrize(("kind", "seed"), seeds())
def test_it_is_loaded_or_refused_in_one_line(kind, seed, tmp_path):
    rng = np.random.default_rng([seed, *kind.encode()])
    path = tmp_path / f"file.{kind.lower()}"
    path.write_bytes(mutated(sound(kind, rng), rng))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of damage that it can read past
        try:
            assert isinstance(load(kind, path), np.ndarray)
        except ValueError as error:
            assert "\n" not in str(error) and "file." in str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_without_damage_it_is_loaded(kind, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / f"file.{kind.lower()}"
    path.write_bytes(sound(kind, rng))
    assert load(kind, path).dtype == np.uint8
