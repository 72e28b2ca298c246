"""CIFAR-10 and CIFAR-100, read from the official binary archives in memory; nothing is unpacked to disk."""

import dataclasses
import functools
import pathlib
import tarfile
import zlib

import numpy as np

from diffax.data.archive import Archive, Split
from diffax.data.download import Remote

_SHAPE = (32, 32, 3)
_PIXELS = 32 * 32 * 3


@dataclasses.dataclass(frozen=True)
class Layout:
    """The file layout of an archive.

    A record is num_labels bytes, of which the last is the class, then 3 planes of 32 x 32 bytes.

    folder: the only folder in the archive.
    splits: the files of each split.
    names: the text file with the names of the classes.
    """

    folder: str
    splits: dict[str, tuple[str, ...]]
    names: str
    num_classes: int
    num_labels: int


def read(path: pathlib.Path, layout: Layout) -> tuple[dict[str, Split], list[str]]:
    """Reads the splits of an archive, by name, and the names of its classes.

    Args:
      path: the archive, or a folder with exactly one archive.

    Raises:
      ValueError: another archive, a damaged one, or one with a member whose path points outside of it.
    """
    path = _archive_in(path) if path.is_dir() else path
    required = {name for files in layout.splits.values() for name in files} | {layout.names}
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                parts = pathlib.PurePosixPath(member.name).parts
                if member.name.startswith("/") or ".." in parts:
                    raise ValueError(f"{path}: refused, its member {member.name!r} points outside of the archive")
                if member.isfile() and parts[:1] == (layout.folder,) and parts[-1] in required:
                    stream = archive.extractfile(member)
                    contents[parts[-1]] = stream.read() if stream is not None else b""
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: not a tar archive, or a damaged one ({error})") from error
    missing = sorted(required - set(contents))
    if missing:
        raise ValueError(f"{path}: expected {layout.folder}/{missing[0]} in it, the binary version")
    splits = {
        split: _records(path, layout, [(name, contents[name]) for name in files])
        for split, files in layout.splits.items()
    }
    names = contents[layout.names].decode().split()
    if len(names) != layout.num_classes:
        raise ValueError(f"{path}: expected {layout.num_classes} names in {layout.names}, got {len(names)}")
    return splits, names


def _archive_in(folder: pathlib.Path) -> pathlib.Path:
    archives = sorted(folder.glob("*.tar.gz"))
    if len(archives) != 1:
        raise ValueError(f"{folder}: expected one .tar.gz in it, got {len(archives)}")
    return archives[0]


def _records(path: pathlib.Path, layout: Layout, files: list[tuple[str, bytes]]) -> Split:
    size = layout.num_labels + _PIXELS
    parts = []
    for name, content in files:
        if not content or len(content) % size:
            raise ValueError(f"{path}: {name} should hold records of {size} bytes, and has {len(content):,} bytes")
        parts.append(np.frombuffer(content, np.uint8).reshape(-1, size))
    records = np.concatenate(parts)
    labels = records[:, : layout.num_labels].astype(np.int32)
    if labels[:, -1].max() >= layout.num_classes:
        raise ValueError(f"{path}: a label is {labels[:, -1].max()}, expected 0 to {layout.num_classes - 1}")
    images = records[:, layout.num_labels :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Split(np.ascontiguousarray(images), labels)


def _archive(layout: Layout, label_keys: tuple[str, ...], url: str, size: int, sha256: str) -> Archive:
    remote = Remote(url, size, sha256)
    return Archive("3.0.2", (remote,), functools.partial(read, layout=layout), label_keys, _SHAPE)


CIFAR10 = _archive(
    Layout(
        "cifar-10-batches-bin",
        {"train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)), "test": ("test_batch.bin",)},
        "batches.meta.txt",
        10,
        1,
    ),
    ("label",),
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
CIFAR100 = _archive(
    Layout("cifar-100-binary", {"train": ("train.bin",), "test": ("test.bin",)}, "fine_label_names.txt", 100, 2),
    ("coarse_label", "label"),
    "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    168_513_733,
    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
)
