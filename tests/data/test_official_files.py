"""The official files of CIFAR and MNIST, intact and damaged."""

import gzip

import numpy as np
import pytest

from diffax.data import cifar, idx, mnist, prepare
from tests.data import archives


def test_a_cifar_archive_is_read(tmp_path):
    truth = archives.cifar10(tmp_path / "cifar.tar.gz", per_file=3)
    splits, names = cifar.CIFAR10.read(tmp_path)
    assert names == archives.NAMES
    for split, (images, labels) in truth.items():
        np.testing.assert_array_equal(splits[split].images, images)
        np.testing.assert_array_equal(splits[split].labels[:, -1], labels)
    assert splits["train"].images.shape == (15, 32, 32, 3)


def test_nothing_of_an_archive_is_written_and_a_member_that_points_outside_is_refused(tmp_path):
    path = tmp_path / "cifar.tar.gz"
    for name in ("../evil.bin", "/etc/evil", "cifar-10-batches-bin/../../evil"):
        archives.cifar10(path, extra=[(name, b"x")])
        with pytest.raises(ValueError, match="points outside of the archive"):
            cifar.read(path, cifar.CIFAR10.read.keywords["layout"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["cifar.tar.gz"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "a damaged one"),
        (lambda content: b"not an archive at all" * 100, "not a tar archive"),
    ],
)
def test_damaged_archives(tmp_path, damage, message):
    path = tmp_path / "cifar.tar.gz"
    archives.cifar10(path, per_file=20)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        cifar.CIFAR10.read(path)


def test_another_archive_is_told_from_the_right_one(tmp_path):
    archives.cifar10(tmp_path / "cifar.tar.gz")
    with pytest.raises(ValueError, match=r"expected cifar-100-binary/fine_label_names.txt in it"):
        cifar.CIFAR100.read(tmp_path / "cifar.tar.gz")


def test_mnist_is_read(tmp_path):
    truth = archives.mnist(tmp_path)
    for split, (images, labels) in truth.items():
        read = mnist.read(tmp_path)[split]
        np.testing.assert_array_equal(read.images[..., 0], images)
        np.testing.assert_array_equal(read.labels[:, 0], labels)
    local = prepare.read_local("mnist", tmp_path, "test")
    assert local.shape == (28, 28, 1) and local.num_classes == 10 and local.name == "mnist/test"


def test_idx_without_gzip_and_damaged(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "a"
    path.write_bytes(archives.idx(array))
    np.testing.assert_array_equal(idx.read(path), array)
    for content, message in (
        (archives.idx(array)[:-1], r"expected 24 bytes for an array of shape \(2, 3, 4\), got 23"),
        (b"PK\x03\x04 and so on", "expected an idx file of unsigned bytes"),
        (b"", "expected an idx file"),
        (gzip.compress(archives.idx(array))[:-9], "damaged gzip file"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            idx.read(path)


def test_a_missing_file_is_named(tmp_path):
    archives.mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match=r"expected t10k-labels-idx1-ubyte.gz in it"):
        mnist.read(tmp_path)
    with pytest.raises(ValueError, match="does not exist: expected the official files of mnist"):
        prepare.read_local("mnist", tmp_path / "no", "train")


def test_an_idx_file_that_ends_in_its_header(tmp_path):
    (tmp_path / "a").write_bytes(b"\0\0\x08\3\0\0\0\1")
    with pytest.raises(ValueError, match="a: expected a header of 16 bytes, got 8: damaged"):
        idx.read(tmp_path / "a")
