"""Data sets as they are found: what people have, at its worst; `python -m tests.data.found` lists the outcomes.

A set is a function that writes it under a folder and returns settings of config.data. What is expected of it is the
numbers of training and held-out examples and the classes, or the one line that refuses it.
"""

import gzip
import io
import json
import pathlib
import tarfile
import tempfile
from typing import NamedTuple

import numpy as np
from PIL import Image

from diffax import build_data, config, resolve

RNG = np.random.default_rng(0)


class Loads(NamedTuple):
    """train, held_out: numbers of examples. note: a part of one of the notes."""

    train: int
    held_out: int
    classes: tuple[str, ...] | None = None
    shape: tuple[int, ...] = (8, 8, 3)
    note: str = ""


FOUND = {}


def found(expected):
    """Adds a set, with Loads or with the pattern of the message that refuses it."""

    def add(write):
        FOUND[write.__name__] = (write, expected)
        return write

    return add


def pixels(*shape):
    return RNG.integers(0, 256, shape or (8, 8, 3), dtype=np.uint8)


def save(path, image=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(pixels()) if image is None else image).save(path, **options)


def fill(root, counts, suffix=".png", make=lambda: None, **options):
    for name, count in counts.items():
        for index in range(count):
            save(root / name / f"{index:03d}{suffix}", make(), **options)
    return {"name": "folder", "path": root}


def splits(root, **options):
    return fill(root, {"train": 3, "test": 2}, **options)


@found(Loads(59, 1, note="every 50th example is held out, 1 of 60"))
def photographs_in_one_folder(root):
    return fill(root, {".": 60}, ".jpg")


@found("60 images lie beside folders of images, thumbs")
def thumbnails_beside_photographs(root):
    return fill(root, {".": 60, "thumbs": 1})


@found(Loads(6, 4, ("cat", "dog")))
def an_image_folder(root):
    return fill(root, {"train/cat": 3, "train/dog": 3, "test/cat": 2, "test/dog": 2})


@found(Loads(30, 2, ("cat",)))
def photographs_sorted_within_their_class(root):
    return fill(root, {"train/cat": 20, "train/cat/indoor": 10, "test/cat/garden": 2})


@found(Loads(4, 2, ("bee", "cat")))
def an_archive_from_a_mac(root):
    settings = fill(root, {"train/cat": 2, "train/bee": 2, "test/cat": 2})
    for name in (".DS_Store", "train/._cat", "train/cat/._000.png", "__MACOSX/train/x.png", "train/__MACOSX/x.png"):
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_bytes(b"\0\5\x16\7")
    return settings


@found(Loads(3, 2))
def a_folder_from_windows(root):
    for name in ("Thumbs.db", "desktop.ini"):
        (root / "train").mkdir(exist_ok=True)
        (root / "train" / name).write_bytes(b"\xd0\xcf\x11\xe0")
    return splits(root, suffix=".JPG", format="JPEG")


@found(Loads(3, 2, shape=(8, 8, 1), note="of more than 8 bits a sample"))
def microscopy_in_16_bits(root):
    return splits(root, make=lambda: Image.fromarray(RNG.integers(0, 65536, (8, 8), dtype=np.uint16)))


@found(Loads(3, 2, note="transparent, on a white background"))
def sprites_with_transparency(root):
    return splits(root, make=lambda: Image.fromarray(pixels(8, 8, 4)))


@found(Loads(3, 2, note="transparent, on a black background"))
def emoji_of_a_palette(root):
    make = lambda: Image.fromarray(pixels()).quantize(16)  # noqa: E731
    return splits(root, suffix=".gif", make=make, transparency=3) | {"background": "black"}


@found(Loads(3, 2, note="animated, of which the first frame is taken"))
def animated_pictures(root):
    frames = [Image.fromarray(pixels()) for _ in range(3)]
    return splits(root, suffix=".gif", make=lambda: frames[0], save_all=True, append_images=frames[1:])


@found(Loads(4, 2))
def prints_in_cmyk_among_photographs(root):
    save(root / "train" / "print.jpg", Image.fromarray(pixels(8, 8, 4), "CMYK"))
    return splits(root, suffix=".jpg")


@found(Loads(4, 2, note="1 of 4 images are grey and become colour"))
def colour_after_a_grey_cover(root):
    save(root / "train" / "0.png", Image.fromarray(pixels(8, 8)))
    return splits(root)


@found(r"big.png: has 9 x 9 pixels and most images 8 x 8: set data.size")
def photographs_of_several_sizes(root):
    save(root / "train" / "big.png", Image.fromarray(pixels(9, 9, 3)))
    return splits(root)


@found(Loads(4, 2, shape=(4, 4, 3)))
def photographs_of_several_sizes_cropped(root):
    return photographs_of_several_sizes(root) | {"size": 4}


@found(Loads(4, 2))
def photographs_taken_upright(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(root / "train" / "turned.jpg", Image.fromarray(pixels(8, 8, 3)), exif=exif)
    return splits(root)


@found(r"float pixels must lie in \[0, 1\], got 0 to 3000")
def elevation_in_metres(root):
    metres = np.linspace(0, 3000, 64, dtype=np.float32).reshape(8, 8)
    return splits(root, suffix=".tiff", make=lambda: Image.fromarray(metres))


@found(Loads(3, 2, shape=(8, 8, 1)))
def reflectance_from_0_to_1(root):
    return splits(root, suffix=".tiff", make=lambda: Image.fromarray(RNG.random((8, 8), dtype=np.float32)))


@found("signed or 32-bit integer pixels have no stated scale")
def counts_in_32_bits(root):
    return splits(root, suffix=".tiff", make=lambda: Image.fromarray(RNG.integers(0, 9, (8, 8), dtype=np.int32)))


@found(Loads(6, 2, ("ant", "bee", "cat")))
def a_test_set_without_one_class(root):
    return fill(root, {"train/ant": 2, "train/bee": 2, "train/cat": 2, "test/bee": 1, "test/cat": 1})


@found("test/wasp: the training split has no such class, but ant, bee")
def a_test_set_with_another_class(root):
    return fill(root, {"train/ant": 2, "train/bee": 2, "test/wasp": 1})


@found("train/bee: the class has no images")
def a_class_whose_download_failed(root):
    (root / "train" / "bee").mkdir(parents=True)
    return fill(root, {"train/ant": 2, "test/ant": 1})


@found("no images, nor folders of them")
def an_empty_folder(root):
    return {"name": "folder", "path": root}


@found("10 examples are too few, one of 50 is held out")
def ten_photographs(root):
    return fill(root, {".": 10})


@found("000.png: unreadable image .*set data.on_corrupt='skip'")
def a_damaged_first_file(root):
    settings = splits(root)
    (root / "train" / "000.png").write_bytes(b"damaged")
    return settings


@found(Loads(3, 2))
def a_damaged_first_file_skipped(root):
    return a_damaged_first_file(root) | {"on_corrupt": "skip"}


@found(Loads(3, 2))
def an_empty_and_a_truncated_file_skipped(root):
    settings = splits(root, suffix=".jpg")
    (root / "train" / "001.jpg").write_bytes(b"")
    content = (root / "train" / "002.jpg").read_bytes()
    (root / "train" / "002.jpg").write_bytes(content[: len(content) // 2])
    return settings | {"on_corrupt": "skip"}


@found("none of 3 images can be read; .*000.jpg: unreadable image")
def pages_of_an_error_message_named_as_images(root):
    settings = splits(root)
    for path in list(root.rglob("*.png")):
        path.with_suffix(".jpg").write_text("<html>404</html>")
        path.unlink()
    return settings


@found(Loads(3, 2))
def jpeg_named_png(root):
    return splits(root, format="JPEG")


@found(Loads(4, 2, ("Äpfel & Birnen", "名前 \n zwei")))
def names_with_spaces_accents_and_line_breaks(root):
    return fill(root, {"train/Äpfel & Birnen": 2, "train/名前 \n zwei": 2, "test/Äpfel & Birnen": 2})


@found("train/labels: the class has no images")
def boxes_in_the_layout_of_yolo(root):
    (root / "train" / "labels").mkdir(parents=True)
    (root / "train" / "labels" / "000.txt").write_text("0 0.5 0.5 1 1")
    return fill(root, {"train/images": 3, "val/images": 2})


@found(Loads(3, 2, note="1 files (.txt 1), the first is labels/000.txt"))
def boxes_without_classes(root):
    return boxes_in_the_layout_of_yolo(root) | {"classes": "none"}


@found("there is a folder val but none named train")
def only_the_validation_set(root):
    return fill(root, {"val/a": 3})


@found(Loads(2, 1, ("a",)))
def links_that_lead_back(root):
    settings = fill(root, {"train/a": 2, "test/a": 1})
    (root / "train" / "a" / "up").symlink_to(root / "train")
    (root / "test" / "a" / "self").symlink_to(root / "test" / "a")
    return settings


@found("gone.png: unreadable image .*No such file")
def links_that_lead_nowhere(root):
    settings = fill(root, {"train/a": 2, "test/a": 1})
    (root / "train" / "a" / "gone.png").symlink_to(root / "nowhere.png")
    return settings


def captioned(root, last):
    settings = splits(root)
    lines = [json.dumps({"file_name": name, "caption": "a"}) for name in ("000.png", "gone.png")]
    (root / "train" / "captions.jsonl").write_text("\n".join([*lines, last]))
    return settings


@found(Loads(3, 2, note="1 line on images that do not exist, the first is"))
def captions_of_an_image_that_was_removed(root):
    return captioned(root, "")


@found(r"captions.jsonl, line 3: expected an object .* of JSON, got {\"file_name\": \"00 ")
def captions_that_were_cut_off(root):
    return captioned(root, '{"file_name": "00')


@found("is not a folder")
def a_zip_file(root):
    (root / "set.zip").write_bytes(b"PK\3\4")
    return {"name": "folder", "path": root / "set.zip"}


def npz(root, **arrays):
    np.savez(root / "set.npz", **arrays)
    return {"name": "arrays", "path": root / "set.npz"}


@found(Loads(5, 4, ("0", "1", "2"), (8, 8, 1)))
def arrays_as_keras_has_them(root):
    labels = {"y_train": np.array([[0], [1], [2], [0], [1]]), "y_test": np.array([[2], [2], [0], [1]])}
    return npz(root, x_train=pixels(5, 8, 8), x_test=pixels(4, 8, 8), **labels)


@found("the training split has no class 7, but 0, 1")
def arrays_with_another_class_in_the_test_set(root):
    images = {"train_images": pixels(2, 8, 8), "test_images": pixels(1, 8, 8)}
    return npz(root, **images, train_labels=np.array([0, 1]), test_labels=np.array([7]))


@found(r"shape \(60, 3, 32, 32\) looks like \(n, channels, height, width\)")
def arrays_as_torch_has_them(root):
    return npz(root, images=pixels(60, 3, 32, 32))


@found("examples must be uint8, uint16 or bool images or floats, got int64")
def arrays_of_integers(root):
    return npz(root, images=pixels(60, 8, 8).astype(np.int64))


@found("not a .npy or .npz file of plain arrays")
def arrays_of_objects(root):
    np.save(root / "set.npy", np.array([{"image": 1}] * 60), allow_pickle=True)
    return {"name": "arrays", "path": root / "set.npy"}


@found(Loads(59, 1, ("ant", "bee"), (8, 8, 3)))
def arrays_with_names_of_classes(root):
    return npz(root, images=pixels(60, 8, 8, 3), labels=np.array(["bee", "ant"] * 30))


@found(r"labels must be integers or names \(n,\), got float64 of shape \(60, 3\)")
def arrays_with_one_hot_labels(root):
    return npz(root, images=pixels(60, 8, 8), labels=np.eye(3)[np.arange(60) % 3])


@found("expected 60 labels, one per example, got 59")
def arrays_with_too_few_labels(root):
    return npz(root, images=pixels(60, 8, 8), labels=np.zeros(59, int))


@found(r"examples must be finite, got nan at index \(3, 1\)")
def points_with_gaps(root):
    points = np.zeros((60, 2), np.float32)
    points[3, 1] = np.nan
    return npz(root, x=points)


@found(Loads(59, 1, None, (8, 8, 3), "floats in [0, 1] are images of 256 levels"))
def images_as_floats(root):
    return npz(root, images=RNG.random((60, 8, 8, 3)))


@found("not a .npy or .npz file of plain arrays")
def a_download_that_was_cut_off(root):
    settings = npz(root, images=pixels(60, 8, 8))
    content = settings["path"].read_bytes()
    settings["path"].write_bytes(content[:-100])
    return settings


def encoded(image=None):
    file = io.BytesIO()
    (Image.fromarray(pixels()) if image is None else image).save(file, "png")
    return file.getvalue()


def rows(count, **columns):
    import pyarrow

    return pyarrow.table({"image": [{"bytes": encoded(), "path": None} for _ in range(count)], **columns})


def hub(root, **tables):
    from pyarrow import parquet

    for name, table in tables.items():
        parquet.write_table(table, root / f"{name}.parquet")
    return {"name": "huggingface", "path": root}


@found(Loads(59, 1, ("0", "1", "2"), note="every 50th example is held out"))
def one_parquet_file(root):
    return hub(root, flowers=rows(60, label=[k % 3 for k in range(60)]))


@found("class -1, and the classes of the training split are 0, 1")
def a_test_split_without_labels(root):
    return hub(root, train=rows(2, label=[0, 1]), test=rows(1, label=[-1]))


@found("holds List, and classes are integers or names: set data.label_column")
def several_labels_an_image(root):
    return hub(root, train=rows(2, label=[[0], [0, 1]]), test=rows(1, label=[[1]]))


@found(r"expected a column of images, got url \(string\), label \(int64\)")
def links_to_images(root):
    import pyarrow

    return hub(root, train=pyarrow.table({"url": ["a.png"] * 60, "label": [0] * 60}))


@found(Loads(3, 2))
def a_shard_without_rows(root):
    return hub(root, **{"train-0": rows(3), "train-1": rows(3).slice(0, 0), "test-0": rows(2)})


@found(Loads(59, 1))
def captions_beside_images(root):
    fill(root, {"train": 60})
    lines = [json.dumps({"file_name": f"{index:03d}.png", "text": "a picture"}) for index in range(60)]
    (root / "train" / "metadata.jsonl").write_text("\n".join(lines))
    return {"name": "huggingface", "path": root}


@found(Loads(3, 2, ("0", "1", "2")))
def shards_of_webdataset(root):
    for split, count in (("train", 3), ("test", 2)):
        with tarfile.open(root / f"{split}-000.tar", "w") as archive:
            for index in range(count):
                for suffix, content in (("png", encoded()), ("cls", str(index).encode())):
                    member = tarfile.TarInfo(f"{index}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return {"name": "huggingface", "path": root}


@found("datasets cannot read it")
def a_parquet_file_that_is_none(root):
    (root / "train.parquet").write_bytes(b"PAR1 and no more")
    return {"name": "huggingface", "path": root}


@found("expected train-images-idx3-ubyte.gz in it")
def half_of_mnist(root):
    (root / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\1\0\0\0\1\7"))
    return {"name": "mnist", "path": root}


def settings(write, root):
    """The resolved configuration of a set."""
    chosen = write(root)
    name = chosen.pop("name")
    default = config.default()
    default.data = config.choice(name)
    return resolve.resolve(resolve.override(default, [(f"data.{key}", str(value)) for key, value in chosen.items()]))


def main():
    """Prints what becomes of every set, one line each."""
    for name, (write, _) in FOUND.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                train, held_out = build_data.splits(settings(write, pathlib.Path(folder)))
                counts = f"{len(train)} + {len(held_out)} of {train.shape}"
                outcome = f"{counts}, {train.num_classes or 'no'} classes. {'; '.join(train.notes)}"
            except ValueError as error:
                outcome = f"refused: {error}"
        print(f"{name.replace('_', ' '):45}", outcome.replace(folder, "SET").replace("\n", "\\n"))


if __name__ == "__main__":
    main()
