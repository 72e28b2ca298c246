"""Captions and other columns of image folders: .jsonl files and .txt files beside the images."""

import json
import pathlib
import pickle

import numpy as np
import pytest

from diffax.data import columns, folder, source
from tests.data.test_listing import fill, image, opened


def lines(path, *objects):
    path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in objects))


def test_lines_of_jsonl_become_columns(tmp_path):
    fill(tmp_path, {"train": 4, "test": 2})
    lines(
        tmp_path / "train" / "captions.jsonl",
        {"file_name": "002.png", "caption": ["a cat", "the cat"], "v": [1, 2.5], "tokens": [[1, 2], [3, 4]]},
        "",
        {"file_name": "./000.png", "caption": "a dog", "tokens": [[5, 6]]},
        {"file_name": "003.png", "caption": None},
    )
    lines(tmp_path / "test" / "metadata.jsonl", {"file_name": "001.png", "caption": "a bird"})
    train, test = map(source.Reader, opened(tmp_path))
    assert list(train.columns) == ["caption", "v", "tokens"] and train.notes == test.notes == ()
    assert train.columns["caption"] == [("a dog",), (), ("a cat", "the cat"), ()]
    assert [None if cell is None else cell.tolist() for cell in train.columns["v"]] == [None, None, [1, 2.5], None]
    tokens = train.columns["tokens"]
    assert tokens[1] is None and tokens[0].tolist() == [[5, 6]] and tokens[2].tolist() == [[1, 2], [3, 4]]
    assert test.columns["caption"] == [(), ("a bird",)]
    assert columns.described(train)[:2] == [
        "caption: texts, 1 to 2 wordings each, 2 of 4 examples have none",
        "v: vectors of 2, 3 of 4 examples have none",
    ]
    assert source.load(train.source).columns["caption"] == train.columns["caption"]


def test_class_folders_and_images_without_classes_below(tmp_path):
    fill(tmp_path, {"train/ant": 2, "train/bee/far": 1, "test/ant": 1})
    lines(
        tmp_path / "train" / "metadata.jsonl",
        {"file_name": "bee/far/000.png", "text": "a bee"},
        {"file_name": "ant/001.png", "text": "an ant"},
    )
    for classes in (None, "none"):
        train = folder.open_folder("train", path=str(tmp_path), classes=classes)
        captions = {
            path.parent.name + path.name: cell for path, cell in zip(train.files, train.columns["text"], strict=True)
        }
        assert captions == {"ant000.png": (), "ant001.png": ("an ant",), "far000.png": ("a bee",)}
        assert train.notes == ()


def test_a_held_out_part_has_the_captions_of_its_images(tmp_path):
    fill(tmp_path, {".": 100})
    lines(tmp_path / "captions.jsonl", *({"file_name": f"{i:03d}.png", "c": f"picture {i}"} for i in range(100)))
    train, test = opened(tmp_path)
    assert test.columns["c"] == [("picture 49",), ("picture 99",)] and len(train.columns["c"]) == 98
    assert train.notes == ("no held-out split: every 50th example is held out, 2 of 100",)
    assert train.columns["c"] == [(f"picture {int(path.stem)}",) for path in train.files]
    lines(tmp_path / "captions.jsonl", {"file_name": "000.png", "c": "a", "v": [1]})
    test = opened(tmp_path)[1]
    assert test.columns["c"] == [(), ()] and test.columns["v"] == [None, None]


def test_one_text_file_beside_every_image(tmp_path, monkeypatch):
    fill(tmp_path, {"train/ant": 2, "train/bee": 2, "test/ant": 1})
    (tmp_path / "train" / "ant" / "000.txt").write_text("an ant\n\n  the ant \r\n", encoding="utf-8")
    (tmp_path / "train" / "bee" / "001.TXT").write_text("\ufeffeine Biene, größer\n", encoding="utf-8")
    (tmp_path / "train" / "bee" / "000.txt").write_text("\n")
    (tmp_path / "train" / "ant" / "readme.txt").write_text("no caption")
    read, counted = pathlib.Path.read_text, []
    monkeypatch.setattr(pathlib.Path, "read_text", lambda path, **o: counted.append(path.name) or read(path, **o))
    train = folder.open_folder("train", path=str(tmp_path))
    loaded = source.load(train)
    assert counted == [] and list(train.columns) == ["caption"] and "caption" in loaded.columns
    assert loaded.columns["caption"] == [("an ant", "the ant"), (), (), ("eine Biene, größer",)]
    assert sorted(counted) == ["000.txt", "000.txt", "001.TXT"]
    assert train.notes == (f"left out of {tmp_path / 'train'}: 1 files (.txt 1), the first is ant/readme.txt",)
    assert pickle.loads(pickle.dumps(train)).columns["caption"] == loaded.columns["caption"]
    (tmp_path / "train" / "ant" / "000.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"ant/000.txt: expected a text file in UTF-8 \('utf-8' codec can't") as error:
        train.columns["caption"]
    assert "\n" not in str(error.value)


def test_several_lines_of_an_image_add_up_and_both_files_count(tmp_path):
    fill(tmp_path, {"train": 2, "test": 1})
    lines(
        tmp_path / "train" / "captions.jsonl",
        {"file_name": "000.png", "caption": "one", "score": 1},
        {"file_name": "000.png", "caption": ["two", "three"], "score": 2},
    )
    lines(tmp_path / "train" / "metadata.jsonl", {"file_name": "000.png", "v": [1]}, {"file_name": "001.png"})
    (tmp_path / "train" / "001.txt").write_text("four")
    train = folder.open_folder("train", path=str(tmp_path))
    assert list(train.columns) == ["caption", "v"] and train.columns["caption"] == [("one", "two", "three"), ()]
    assert train.notes == (
        f"left out of {tmp_path / 'train'}: of its .jsonl files score (neither texts nor lists of numbers)",
        f"left out of {tmp_path / 'train'}: 1 .txt files, because its .jsonl file has a column caption",
    )
    lines(tmp_path / "train" / "captions.jsonl", {"file_name": "000.png", "v": [2]})
    with pytest.raises(ValueError, match=r"metadata.jsonl, line 1: v: an earlier line has one of this image"):
        folder.open_folder("train", path=str(tmp_path))


def test_lines_without_an_image_are_counted(tmp_path):
    fill(tmp_path, {"train": 1, "test": 1})
    strangers = [{"file_name": name, "c": "x"} for name in ("gone.png", "../test/000.png")]
    lines(tmp_path / "train" / "captions.jsonl", {"file_name": "000.png", "c": "a"}, *strangers)
    path = tmp_path / "train" / "captions.jsonl"
    train = folder.open_folder("train", path=str(tmp_path))
    assert train.columns["c"] == [("a",)]
    assert train.notes == (
        f"left out of {path}: 2 lines on images that do not exist, the first is {path}, line 2, gone.png",
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"file_name": "000.png", "c": ',
            r'captions.jsonl, line 2: expected an object {"file_name": ...} of JSON, got',
        ),
        ("[" * 100_000, "captions.jsonl, line 2: expected an object .* of JSON, got"),
        ('["000.png"]', r"captions.jsonl, line 2: expected an object .* got \[\"000.png\"\]: mend it, or move"),
        ('{"image": "000.png"}', "captions.jsonl, line 2: expected an object .* path of an image from .*/train"),
        ('{"file_name": 0}', "captions.jsonl, line 2: expected an object"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, message):
    fill(tmp_path, {"train": 1, "test": 1})
    lines(tmp_path / "train" / "captions.jsonl", {"file_name": "000.png", "c": "a"}, line)
    with pytest.raises(ValueError, match=message) as error:
        folder.open_folder("train", path=str(tmp_path))
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_a_column_that_nobody_asks_for_harms_nobody(tmp_path):
    fill(tmp_path, {"train": 3, "test": 1})
    lines(
        tmp_path / "train" / "metadata.jsonl",
        {"file_name": "000.png", "box": [1, 2], "nan": [float("nan")], "caption": "a"},
        {"file_name": "002.png", "box": [1, 2, 3], "nan": [0], "caption": "b"},
    )
    train = source.load(folder.open_folder("train", path=str(tmp_path)))
    assert train.columns["caption"] == [("a",), (), ("b",)]
    name = f"{tmp_path.name}/train: column"
    with pytest.raises(
        ValueError, match=rf"{name} box, 002.png: expected a vector of 2 numbers as in 000.png, got .* 3"
    ):
        train.columns["box"]
    with pytest.raises(ValueError, match=rf"{name} nan, 000.png: expected finite numbers, got nan at position 0"):
        train.columns["nan"]
    box, nan, caption = columns.described(train)
    assert box.startswith(f"box: cannot be used ({name} box, 002.png") and nan.startswith("nan: cannot be used (")
    assert caption == "caption: texts, 1 wording each, 1 of 3 examples has none"


def test_the_caption_of_a_corrupt_image_is_that_of_its_replacement(tmp_path):
    fill(tmp_path, {"train": 3, "test": 1})
    for index in range(3):
        (tmp_path / "train" / f"{index:03d}.txt").write_text(f"picture {index}")
    (tmp_path / "train" / "001.png").write_bytes(b"no image")
    loaded = source.load(folder.open_folder("train", path=str(tmp_path)), skip=True)
    np.testing.assert_array_equal(loaded.examples[:, 0, 0, 0], [0, 2, 2])
    assert loaded.columns["caption"] == [("picture 0",), ("picture 2",), ("picture 2",)]


def test_labels_of_detection_in_another_folder_are_no_captions(tmp_path):
    image(tmp_path / "train" / "images" / "000.png")
    image(tmp_path / "test" / "images" / "000.png")
    (tmp_path / "train" / "labels").mkdir()
    (tmp_path / "train" / "labels" / "000.txt").write_text("0 0.5 0.5 1 1")
    assert len(folder.open_folder("train", path=str(tmp_path), classes="none").columns) == 0
