"""Hugging Face data sets in the layouts that people have them in."""

import io
import json
import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from diffax.data import folder, huggingface, pipeline, source
from tests.data.test_folder import classes

pyarrow = pytest.importorskip("pyarrow")
datasets = pytest.importorskip("datasets")
from pyarrow import parquet  # noqa: E402

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 4, 5, 3), dtype=np.uint8)


def encoded(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def table(rows, labels=None, cell=lambda content: {"bytes": content, "path": None}, column="image"):
    columns = {column: [cell(encoded(IMAGES[row])) for row in rows]}
    return pyarrow.table(columns | ({} if labels is None else {"label": labels}))


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(content, path)
    return path


def opened(path, **options):
    return [huggingface.open_huggingface(split, path=str(path), **options) for split in ("train", "test")]


def images(opened):
    return source.load(opened).examples


LAYOUTS = {
    "converted": ["default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"],
    "hub": [*(f"data/train-0000{shard}-of-00002.parquet" for shard in (0, 1)), "data/test-00000-of-00001.parquet"],
    "folders": ["train/a.parquet", "train/b.parquet", "test/a.parquet"],
    "validation": ["train-0.parquet", "train-1.parquet", "validation-0.parquet"],
    "flowers": ["flowers-train.parquet", "flowers-train_1.parquet", "flowers-test.parquet"],
}


@pytest.mark.parametrize("names", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_of_parquet(tmp_path, names):
    for name, rows in zip(names, (range(3), range(3, 5), range(5, 7)), strict=True):
        put(tmp_path / name, table(rows, [row % 3 for row in rows]))
    train, test = opened(tmp_path)
    np.testing.assert_array_equal(images(train), IMAGES[:5])
    np.testing.assert_array_equal(images(test), IMAGES[5:7])
    assert train.class_names == test.class_names == ("0", "1", "2")
    assert source.load(train).labels.tolist() == [0, 1, 2, 0, 1] and source.load(test).labels.tolist() == [2, 0]


def test_one_file_holds_out_every_50th_row(tmp_path):
    path = put(tmp_path / "one.parquet", table(range(60), cell=lambda content: content, column="img"))
    train, test = opened(path)
    assert len(train) == 59 and train.class_names is None
    np.testing.assert_array_equal(images(test), IMAGES[49:50])
    np.testing.assert_array_equal(images(train), np.delete(IMAGES, 49, 0))
    assert train.notes == test.notes == ("no held-out split: every 50th example is held out, 1 of 60",)


def test_an_image_folder_and_one_with_captions(tmp_path):
    truth = classes(tmp_path / "classes")
    train, test = opened(tmp_path / "classes")
    assert train.class_names == ("cat", "dog") and source.load(test).labels.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(images(train)[4], truth["train", "dog", 1])
    captions = tmp_path / "captions" / "train"
    captions.mkdir(parents=True)
    for index in range(60):
        (captions / f"{index:02d}.png").write_bytes(encoded(IMAGES[index]))
    lines = [json.dumps({"file_name": f"{index:02d}.png", "text": f"picture {index}"}) for index in range(60)]
    (captions / "metadata.jsonl").write_text("\n".join(lines))
    train, test = opened(tmp_path / "captions")
    assert train.class_names is None and len(train) == 59
    np.testing.assert_array_equal(images(test), IMAGES[49:50])


def test_features_that_datasets_wrote(tmp_path):
    """ClassLabel names, an Image column of another name, and a folder of save_to_disk."""
    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["ant", "bee"])})
    rows = {"picture": [{"bytes": encoded(x), "path": None} for x in IMAGES[:4]], "kind": [1, 0, 1, 1]}
    whole = datasets.Dataset.from_dict(rows, features=features)
    saved = datasets.DatasetDict({"train": whole, "validation": whole.select([3])})
    saved.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "parquet").mkdir()
    for split in saved:
        saved[split].to_parquet(str(tmp_path / "parquet" / f"{split}.parquet"))
    for path in (tmp_path / "saved", tmp_path / "parquet"):
        train, test = opened(path)
        assert train.class_names == ("ant", "bee") and source.load(train).labels.tolist() == [1, 0, 1, 1]
        np.testing.assert_array_equal(images(train), IMAGES[:4])
        np.testing.assert_array_equal(images(test), IMAGES[3:4])


def webdataset(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for row in rows:
            for suffix, content in (("png", encoded(IMAGES[row])), ("cls", str(row % 3).encode())):
                member = tarfile.TarInfo(f"{row:06d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def test_webdataset_shards(tmp_path):
    webdataset(tmp_path / "set" / "train-000.tar", range(3))
    webdataset(tmp_path / "set" / "train-001.tar", range(3, 5))
    webdataset(tmp_path / "set" / "test-000.tar", range(5, 7))
    train, test = opened(tmp_path / "set")
    np.testing.assert_array_equal(images(train), IMAGES[:5])
    np.testing.assert_array_equal(images(test), IMAGES[5:7])
    assert source.load(train).labels.tolist() == [0, 1, 2, 0, 1]
    alone = opened(webdataset(tmp_path / "alone.tar", range(60)))
    np.testing.assert_array_equal(images(alone[1]), IMAGES[49:50])


def test_corrupt_and_missing_images_the_first_among_them(tmp_path):
    cells = [
        {"bytes": content, "path": None} for content in (b"junk", None, encoded(IMAGES[2]), b"", encoded(IMAGES[4]))
    ]
    put(tmp_path / "train.parquet", pyarrow.table({"image": cells}))
    put(tmp_path / "test.parquet", table([0]))
    train = opened(tmp_path)[0]
    with pytest.raises(source.CorruptExample, match="train, row 0: unreadable image"):
        source.load(train)
    loaded = source.load(train, skip=True)
    assert loaded.num_replaced == 3
    np.testing.assert_array_equal(loaded.examples, IMAGES[[2, 2, 2, 4, 4]])


def test_an_empty_shard(tmp_path):
    put(tmp_path / "train-0.parquet", table(range(4)).slice(0, 0))
    put(tmp_path / "train-1.parquet", table(range(4)))
    put(tmp_path / "test-0.parquet", table([4]))
    np.testing.assert_array_equal(images(opened(tmp_path)[0]), IMAGES[:4])
    put(tmp_path / "none.parquet", table(range(4)).slice(0, 0))
    with pytest.raises(ValueError, match=r"none.parquet.*: datasets cannot read it .*no data"):
        opened(tmp_path / "none.parquet")


def test_classes_of_the_training_split_for_both(tmp_path):
    put(tmp_path / "a" / "train.parquet", table(range(3), ["cat", "ant", "cat"]))
    put(tmp_path / "a" / "test.parquet", table(range(2), ["cat", "cat"]))
    train, test = opened(tmp_path / "a")
    assert train.class_names == ("ant", "cat") and list(train.labels) == [1, 0, 1] and list(test.labels) == [1, 1]
    for name, labels, message in (
        ("b", ["dog", "cat"], r"test, row 0: the column label has class 'dog', and the classes .* are ant, cat"),
        ("c", ["cat", None], "test, row 1: the column label has no class"),
    ):
        put(tmp_path / name / "train.parquet", table(range(3), ["cat", "ant", "cat"]))
        put(tmp_path / name / "test.parquet", table(range(2), labels))
        with pytest.raises(ValueError, match=message):
            opened(tmp_path / name)
        assert opened(tmp_path / name, label_column="")[1].class_names is None


def test_what_cannot_be_used_is_one_clear_line(tmp_path):
    (tmp_path / "text.parquet").write_text("hello")
    (tmp_path / "empty").mkdir()
    strings = pyarrow.table({"image": ["a.png"] * 60})
    for path, options, message in (
        ("", {}, r"data\.name = 'huggingface' needs data\.path"),
        (tmp_path / "no", {}, "is neither a file or folder nor a name on the Hub"),
        (tmp_path / "text.parquet", {}, "datasets cannot read it"),
        (tmp_path / "empty", {}, "datasets cannot read it"),
        (put(tmp_path / "s.parquet", strings), {}, r"expected a column of images, got image \(string\)"),
        (put(tmp_path / "n.parquet", pyarrow.table({"image": [1.5] * 60})), {}, r"got image \(float64\)"),
        (put(tmp_path / "l.parquet", pyarrow.table({"image": [[1, 2]] * 60})), {}, r"got image \(List\)"),
        (put(tmp_path / "f.parquet", table(range(60), [0.5] * 60)), {}, "the column label holds (float64|double)"),
        (put(tmp_path / "ll.parquet", table(range(60), [[0]] * 60)), {}, "the column label holds List"),
        (
            put(tmp_path / "neg.parquet", table(range(60), [-1] * 60)),
            {},
            "must hold classes 0, 1, 2, .* got -1 to -1",
        ),
        (put(tmp_path / "none.parquet", table(range(60), [0] * 59 + [None])), {}, "of every row, and some have none"),
        (put(tmp_path / "ok.parquet", table(range(60))), {"image_column": "x"}, r"data\.image_column = 'x', got image"),
        (tmp_path / "ok.parquet", {"label_column": "x"}, r"expected a column data\.label_column = 'x', got image"),
        (tmp_path / "ok.parquet", {"test_split": "x"}, r"data\.test_split = 'x': .*ok.parquet has train \(60 rows\)"),
        (put(tmp_path / "few.parquet", table(range(4))), {}, "4 examples are too few, one of 50 is held out"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            opened(path, **options)
        assert "\n" not in str(error.value)


def test_a_split_of_another_name_can_be_chosen(tmp_path):
    for name, rows in (("train", range(3)), ("test", range(3, 5)), ("validation", range(5, 7))):
        put(tmp_path / f"{name}.parquet", table(rows))
    assert opened(tmp_path)[0].notes == ("left out: the splits validation (2 rows)",)
    np.testing.assert_array_equal(images(opened(tmp_path, test_split="validation")[1]), IMAGES[5:7])


def test_worker_processes_get_it_whole(tmp_path):
    path = put(tmp_path / "one.parquet", table(range(60)))
    copy = pickle.loads(pickle.dumps(opened(path)[0]))
    np.testing.assert_array_equal(images(copy), images(opened(path)[0]))


def test_it_imports_neither_torch_nor_tensorflow(tmp_path):
    """Though both are installed: packages of these names, which say so when they are imported."""
    path = put(tmp_path / "one.parquet", table(range(60), [0] * 60))
    for name in ("torch", "tensorflow"):
        (tmp_path / "packages" / name).mkdir(parents=True)
        (tmp_path / "packages" / name / "__init__.py").write_text(
            f"print('{name} is imported')\n__version__ = '2.13.0'\n"
        )
        (tmp_path / "packages" / f"{name}-2.13.0.dist-info").mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.13.0\n"
        (tmp_path / "packages" / f"{name}-2.13.0.dist-info" / "METADATA").write_text(metadata)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "packages")!r})
from diffax import build_data
from diffax.data import folder, huggingface, pipeline, source
print("datasets" in sys.modules)
loaded = source.load(huggingface.open_huggingface("train", path={str(path)!r}))
import datasets.config
print(datasets.config.TORCH_AVAILABLE, len(loaded), sorted({{"torch", "tensorflow"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.split("\n")[:-1] == ["False", "True 59 []"], done.stdout + done.stderr[-2000:]


def test_one_set_in_three_layouts_gives_the_same_batches(tmp_path):
    """JPEG files of two classes as folders, as Parquet shards in the Hub's layout and as WebDataset, to the bit."""
    files = {}
    for index in range(60):
        split, name = ("test" if index % 5 == 0 else "train"), ("ant", "bee")[index // 30]
        path = tmp_path / "folder" / split / name / f"{index:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGES[index]).save(path)
        files.setdefault(split, []).append((path.read_bytes(), ("ant", "bee").index(name)))
    for split, contents in files.items():
        cells, labels = [{"bytes": content, "path": None} for content, _ in contents], [label for _, label in contents]
        rows = pyarrow.table({"image": cells, "label": labels})
        put(tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet", rows)
        (tmp_path / "tar").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / "tar" / f"{split}-000.tar", "w") as archive:
            for index, (content, label) in enumerate(contents):
                for suffix, member_content in (("jpg", content), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{index:06d}.{suffix}")
                    member.size = len(member_content)
                    archive.addfile(member, io.BytesIO(member_content))
    for split in ("train", "test"):
        sources = [folder.open_folder(split, path=str(tmp_path / "folder"))]
        sources += [huggingface.open_huggingface(split, path=str(tmp_path / name)) for name in ("hub", "tar")]
        memory = pipeline.Pipeline(source.load(sources[0]), 16, seed=3)
        for each in sources:
            on_demand = pipeline.Pipeline(source.Reader(each), 16, seed=3)
            for step in range(8):
                for key in ("x", "label"):
                    np.testing.assert_array_equal(on_demand.batch(step)[key], memory.batch(step)[key])
