"""Image folders as people have them: classes, splits, what is left out and how it is said."""

import numpy as np
import pytest
from PIL import Image

from diffax.data import folder, listing, source


def image(path, colour=0, mode="L", side=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (side, side), colour).save(path)
    return path


def fill(root, counts, suffix=".png"):
    """{"train/cat": 3} makes root/train/cat/0.png .. 2.png, each of a colour of its own."""
    colour = 0
    for name, count in counts.items():
        for index in range(count):
            image(root / name / f"{index:03d}{suffix}", colour % 256)
            colour += 1


def opened(root, **options):
    return [folder.open_folder(split, path=str(root), **options) for split in ("train", "test")]


def colours(opened):
    return source.load(opened).examples[:, 0, 0, 0].tolist()


def test_both_splits_have_the_classes_of_the_training_split(tmp_path):
    fill(tmp_path, {"train/ant": 2, "train/bee": 2, "train/cat": 2, "test/bee": 2, "test/cat": 1})
    train, test = opened(tmp_path)
    assert train.class_names == test.class_names == ("ant", "bee", "cat")
    assert train.labels == [0, 0, 1, 1, 2, 2] and test.labels == [1, 1, 2]
    assert source.load(test).class_names == ("ant", "bee", "cat")
    fill(tmp_path, {"test/zebra": 1})
    with pytest.raises(ValueError, match=r"test/zebra: the training split has no such class, but ant, bee, cat"):
        folder.open_folder("test", path=str(tmp_path))


@pytest.mark.parametrize("train", ["train", "training", "Train"])
@pytest.mark.parametrize("held_out", ["test", "val", "valid", "validation", "testing"])
def test_names_of_split_folders(tmp_path, train, held_out):
    fill(tmp_path, {f"{train}/a": 3, f"{held_out}/a": 2})
    assert [colours(each) for each in opened(tmp_path)] == [[0, 1, 2], [3, 4]]


def test_what_has_no_split_of_its_own_gets_one_held_out_and_it_is_said(tmp_path):
    fill(tmp_path / "plain", {".": 100})
    fill(tmp_path / "only_train", {"train": 100})
    fill(tmp_path / "classes", {"train": 30, "plane": 30, "car": 40})
    fill(tmp_path / "same", {"train": 100})
    (tmp_path / "same" / "test").symlink_to(tmp_path / "same" / "train")
    for name in ("plain", "only_train", "classes", "same"):
        train, test = opened(tmp_path / name)
        assert len(train) == 98 and len(test) == 2 and not set(train.files) & set(test.files)
        note = "no held-out split: every 50th example is held out, 2 of 100"
        assert note in train.notes and note in test.notes
    assert opened(tmp_path / "classes")[0].class_names == ("car", "plane", "train")


def test_images_lie_anywhere_below_their_class(tmp_path):
    fill(
        tmp_path, {"train/cat/indoor": 10, "train/cat": 20, "train/cat/outdoor/far": 2, "train/dog": 3, "test/cat/x": 1}
    )
    train, test = opened(tmp_path)
    assert len(train) == 35 and train.labels.count(0) == 32 and test.labels == [0]
    # In the order of torchvision's ImageFolder: folder by folder, in each by name.
    assert [file.relative_to(tmp_path / "train").parent.as_posix() for file in train.files[:33:10]] == [
        *("cat", "cat", "cat/indoor", "cat/outdoor/far")
    ]


def test_a_folder_of_thumbnails_beside_images_is_refused_until_it_is_said_what_is_meant(tmp_path):
    fill(tmp_path, {".": 60, "thumbs": 5})
    with pytest.raises(ValueError, match=r"60 images lie beside folders of images, thumbs \(5 images\): move") as error:
        folder.open_folder("train", path=str(tmp_path))
    assert "\n" not in str(error.value)
    train, test = opened(tmp_path, classes="none")
    assert len(train) + len(test) == 65 and train.class_names is None
    fill(tmp_path, {"more": 50})
    train, test = opened(tmp_path, classes="folders")
    assert train.class_names == ("more", "thumbs") and len(train) + len(test) == 55
    assert train.notes[0] == f"left out of {tmp_path}: 60 files (.png 60), the first is 000.png"
    with pytest.raises(ValueError, match=r"data\.classes must be one of folders, none, got 'all'"):
        folder.open_folder("train", path=str(tmp_path), classes="all")


def test_hidden_and_system_files_never_count(tmp_path):
    fill(tmp_path, {"train/a": 2, "test/a": 1})
    for name in (".DS_Store", "._000.png", "Thumbs.db", "desktop.ini", ".hidden/x.png", "__MACOSX/a/y.png"):
        path = tmp_path / "train" / "a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no image")
    (tmp_path / "train" / "__MACOSX").mkdir()
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    train = folder.open_folder("train", path=str(tmp_path))
    assert len(train) == 2 and train.class_names == ("a",) and train.notes == ()


def test_what_is_left_out_is_counted_and_said(tmp_path):
    fill(tmp_path, {"train/a": 2, "test/a": 1, "val/a": 4, "extra": 3})
    for name in ("train/a/readme.txt", "train/a/x.txt", "train/labels.csv", "train/a/photo", "licence.txt"):
        (tmp_path / name).write_text("text")
    notes = folder.open_folder("train", path=str(tmp_path)).notes
    assert notes == (
        f"left out of {tmp_path}, beside the folders of its splits: extra/ (3 files), val/ (4 files), licence.txt",
        f"left out of {tmp_path / 'train'}: 4 files (.txt 2, .csv 1, without suffix 1), the first is labels.csv",
    )


def test_the_majority_decides_over_size_and_channels(tmp_path):
    image(tmp_path / "train" / "000.png", mode="L", side=9)
    for index in range(1, 4):
        image(tmp_path / "train" / f"{index:03d}.png", (9, 8, 7), "RGB")
    image(tmp_path / "test" / "a.png", (9, 8, 7), "RGB")
    train, test = opened(tmp_path)
    assert train.shape == test.shape == (4, 4, 3)
    first = tmp_path / "train" / "000.png"
    assert train.notes == (f"1 of 4 images are grey and become colour (data.channels): {first}",)
    with pytest.raises(ValueError, match=r"000.png: has 9 x 9 pixels and most images 4 x 4: set data.size"):
        train.example(0)
    assert folder.open_folder("train", path=str(tmp_path), channels=1).shape == (4, 4, 1)


def test_a_corrupt_first_file_is_skipped(tmp_path):
    fill(tmp_path, {"train": 4, "test": 1})
    (tmp_path / "train" / "000.png").write_bytes(b"no image")
    train = folder.open_folder("train", path=str(tmp_path))
    loaded = source.load(train, skip=True)
    assert loaded.num_replaced == 1 and loaded.examples[:, 0, 0, 0].tolist() == [1, 1, 2, 3]
    with pytest.raises(source.CorruptExample, match=r"000.png: unreadable image"):
        source.load(train)


def test_a_link_to_a_folder_above_ends(tmp_path):
    fill(tmp_path, {"train/a": 2, "test/a": 1})
    (tmp_path / "train" / "a" / "again").symlink_to(tmp_path / "train")
    assert len(list(listing.walk(tmp_path / "train"))) == 2


def test_splits_without_a_training_folder_or_with_classes_in_one_alone(tmp_path):
    fill(tmp_path / "tests", {"test/a": 2, "val/a": 1})
    with pytest.raises(ValueError, match="there is a folder test but none named train"):
        folder.open_folder("train", path=str(tmp_path / "tests"))
    fill(tmp_path / "half", {"train/a": 2, "test": 1})
    with pytest.raises(ValueError, match="only the training images lie in class folders"):
        folder.open_folder("test", path=str(tmp_path / "half"))


def test_the_digest_of_files_depends_on_names_and_sizes(tmp_path):
    fill(tmp_path, {"train": 3, "test": 1})
    before = folder.open_folder("train", path=str(tmp_path)).files_digest
    assert before == folder.open_folder("train", path=str(tmp_path)).files_digest
    (tmp_path / "train" / "000.png").rename(tmp_path / "train" / "0.png")
    assert before != folder.open_folder("train", path=str(tmp_path)).files_digest
    assert len(np.unique([before, listing.digest(tmp_path, [])])) == 2
