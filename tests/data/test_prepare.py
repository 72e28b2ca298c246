"""TFDS datasets, prepared and read without TensorFlow."""

import errno
import itertools
import subprocess
import sys

import numpy as np
import pytest

from diffax.data import prepare, source, tfds
from tests.data import archives


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Small stand-ins for the archives of CIFAR-10 and both MNISTs on a local server.

    TFDS's default data_dir is tmp_path / "tfds".
    """
    builder = prepare.builder
    monkeypatch.setattr(prepare, "builder", lambda name, data_dir: builder(name, data_dir or tmp_path / "tfds"))
    folder = tmp_path / "served"
    folder.mkdir()
    truth = {"cifar10": archives.cifar10(folder / "cifar-10-binary.tar.gz"), "mnist": archives.mnist(folder)}
    truth["fashion_mnist"] = truth["mnist"]  # the same format
    with archives.serving(folder) as server:
        idx = sorted(path.name for path in folder.glob("*ubyte.gz"))
        files = {"cifar10": ["cifar-10-binary.tar.gz"], "mnist": idx, "fashion_mnist": idx}
        for name, names in files.items():
            remotes = tuple(archives.remote(server.url, folder / file) for file in names)
            monkeypatch.setitem(prepare.ARCHIVES, name, prepare.ARCHIVES[name]._replace(remotes=remotes))
        yield server, truth


@pytest.mark.parametrize("name", ["cifar10", "mnist", "fashion_mnist"])
def test_what_is_prepared_is_what_the_archive_holds(served, tmp_path, name):
    server, truth = served
    for split, (images, labels) in truth[name].items():
        opened = tfds.open_tfds(split, name=name)
        loaded = source.load(opened)
        assert len(opened) == len(images) and opened.shape == loaded.shape == (*images.shape[1:3], loaded.shape[2])
        # TFDS shuffles what it writes, so examples are compared as a set.
        got = sorted((x.tobytes(), int(label)) for x, label in zip(loaded.examples, loaded.labels, strict=True))
        assert got == sorted((x.tobytes(), int(label)) for x, label in zip(images, labels, strict=True))
    sent = server.sent
    tfds.OFFICIAL[name]("train")
    assert server.sent == sent  # prepared once


def test_stock_tfds_reads_it_and_tensorflow_is_nowhere(served, tmp_path):
    """In a process of its own, so that nothing of ours is in the way: name, version, features, ids and pixels."""
    _, truth = served
    tfds.open_tfds("train", name="cifar10")
    code = """
import sys, tensorflow_datasets as tfds
data = tfds.data_source("cifar10", split="train", data_dir=sys.argv[1], download=False)
first = next(x for x in data if x["id"] == b"train_00000")
print(len(data), sorted(first), first["image"].shape, int(first["image"].sum()), first["label"])
print(tfds.builder("cifar10", data_dir=sys.argv[1]).info.features["label"].names[:2], "tensorflow" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "tfds")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    images, labels = truth["cifar10"]["train"]
    expected = f"10 ['id', 'image', 'label'] (32, 32, 3) {int(images[0].astype(int).sum())} {labels[0]}"
    assert done.stdout.splitlines() == [expected, "['airplane', 'automobile'] False"]


def test_a_broken_download_leaves_nothing_of_the_dataset(served, tmp_path):
    server, _ = served
    server.stop_after = 1000
    with pytest.raises(ValueError, match="the same command goes on"):
        tfds.open_tfds("train", name="cifar10")
    assert not list((tmp_path / "tfds").glob("cifar10/*"))
    server.stop_after = None
    assert len(tfds.open_tfds("train", name="cifar10")) == 10


def test_a_disk_that_fills_up_while_preparing_leaves_nothing(served, tmp_path, monkeypatch):
    count = itertools.count()
    encode = prepare.png

    def full(image):
        if next(count) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return encode(image)

    monkeypatch.setattr(prepare, "png", full)
    with pytest.raises(ValueError, match="the disk is full; nothing of the dataset was kept"):
        tfds.open_tfds("train", name="cifar10")
    assert not list((tmp_path / "tfds").glob("cifar10/*"))


def test_a_local_archive_in_the_place_of_the_network(tmp_path, served):
    server, truth = served
    archive = server.folder / "cifar-10-binary.tar.gz"
    builder = prepare.prepare("cifar10", tmp_path / "elsewhere", local=archive)
    assert server.sent == 0 and builder.info.splits["test"].num_examples == len(truth["cifar10"]["test"][0])
    assert (tmp_path / "elsewhere" / "cifar10").is_dir() and not (tmp_path / "tfds").exists()
    assert len(tfds.from_builder(builder, "test", name="cifar10")) == len(truth["cifar10"]["test"][0])


def test_a_path_is_that_of_the_official_files(tmp_path, served, monkeypatch):
    """Read as they are: nothing is downloaded or prepared."""
    server, truth = served
    archive = server.folder / "cifar-10-binary.tar.gz"
    monkeypatch.setenv("HOME", str(server.folder))
    for local in (
        prepare.read_local("cifar10", archive, "train"),
        tfds.open_tfds("train", name="cifar10", path=str(archive)),
        tfds.OFFICIAL["cifar10"]("train", path="~/cifar-10-binary.tar.gz"),
    ):
        np.testing.assert_array_equal(local.examples, truth["cifar10"]["train"][0])
        np.testing.assert_array_equal(local.labels, truth["cifar10"]["train"][1])
    assert server.sent == 0 and not (tmp_path / "tfds").exists()
    for options in ({"size": 16}, {"channels": 1}):
        with pytest.raises(ValueError, match=r"must be left unset for the official files of cifar10"):
            tfds.open_tfds("train", name="cifar10", path=str(archive), **options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifr10", "is not a dataset; the nearest are cifar10"),
        (
            "celeb_a",
            "Preparing it needs TensorFlow, reading it does not: pip install tensorflow, then tfds build celeb_a",
        ),
        ("imagenet_resized/64x64", "tfds build imagenet_resized/64x64 --file_format=array_record"),
        ("imagenet_resized/65x65", "BuilderConfig 65x65 not found"),
    ],
)
def test_names_that_cannot_be_had(tmp_path, name, message):
    with pytest.raises(ValueError, match=message) as raised:
        tfds.open_tfds("train", name=name, path=str(tmp_path))
    assert "\n" not in str(raised.value)


def test_an_unknown_split(served, tmp_path):
    with pytest.raises(ValueError, match="mnist has no split 'validation', but"):
        tfds.open_tfds("validation", name="mnist")
