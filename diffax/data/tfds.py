"""TensorFlow Datasets (TFDS) as data sources, read without TensorFlow."""

import dataclasses
import difflib
import functools
import pathlib
from collections.abc import Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Int64

from diffax.data import listing, prepare
from diffax.data.dataset import Dataset, held_out_rows
from diffax.data.decoding import Form
from diffax.data.source import Example
from diffax.data.survey import form_of


@final
@dataclasses.dataclass(frozen=True)
class Tfds:
    """A split of a prepared TFDS dataset as a `data.source.Source`; made by `open_tfds` or `from_builder`.

    records: random access to the examples as TFDS stores them, with images still encoded.
    rows: which of them are of the split.
    """

    name: str
    form: Form
    class_names: Sequence[str] | None
    records: Sequence[dict[str, Any]]
    rows: Int64[np.ndarray, " rows"]
    notes: tuple[str, ...] = ()
    files_digest: str | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every decoded image."""
        return self.form.shape

    def __len__(self) -> int:
        return len(self.rows)

    def example(self, index: int) -> Example:
        """Decodes one image. Raises CorruptExample, whose message names the dataset and the index."""
        record = self.records[int(self.rows[index])]
        pixels = self.form.decode(record["image"], f"{self.name}, example {self.rows[index]}")
        return Example(pixels, None if self.class_names is None else int(record["label"]))


def open_tfds(
    split: str,
    *,
    name: str,
    path: str = "",
    size: int | None = None,
    channels: int | None = None,
    background: str = "white",
    report: prepare.Report | None = None,
) -> Tfds | Dataset:
    """Opens a split of a TFDS dataset of images; its feature `label`, if there is one, is the class.

    The datasets of `prepare.ARCHIVES` are read from their official files in `path`. Without a path they are downloaded
    and prepared in TFDS's default data_dir, ~/tensorflow_datasets. Any other dataset must have been prepared before, in
    array_record format.

    Args:
      split: train or test; where a dataset has no test split, test is its validation split, or every 50th example of a
        dataset with neither.
      name: the TFDS name, for example imagenet_resized/64x64.
      path: of the datasets of `prepare.ARCHIVES`, the official archive or the folder of the official files; of any
        other dataset, TFDS's data_dir. Empty: see above, or TFDS's default data_dir.
      size: the side of the square that every image is center-cropped and resized to, with antialiasing; None if all
        images have one size.
      channels: 1 for grey, 3 for colour; None for the channels of the majority of images.
      background: the colour on which transparent pixels are composited: black, white or #rrggbb.
      report: called in downloads with a file's name, the bytes downloaded so far and its size.

    Raises:
      ValueError: an unknown name (the message has the nearest names), a dataset that is not prepared (the message has
        the command), a dataset without images, an unknown split, or a size or channels for official files in `path`.
    """
    root = pathlib.Path(path).expanduser() if path else None
    if name not in prepare.ARCHIVES:
        builder = _prepared_before(name, root)
    elif root is None:
        builder = prepare.prepare(name, None, report=report)
    elif size is not None or channels is not None:
        raise ValueError(
            f"data.size and data.channels must be left unset for the official files of {name} in data.path"
        )
    else:
        return prepare.read_local(name, root, split)
    return from_builder(builder, split, name=name, size=size, channels=channels, background=background)


# The datasets with official files by name, each a function (split, *, path, size, channels, report).
OFFICIAL = {name: functools.partial(open_tfds, name=name) for name in prepare.ARCHIVES}


def from_builder(
    builder: Any,
    split: str,
    *,
    name: str,
    size: int | None = None,
    channels: int | None = None,
    background: str = "white",
) -> Tfds:
    """Opens a split of a prepared TFDS builder; arguments and errors as for `open_tfds`."""
    import tensorflow_datasets as tfds

    features = dict(builder.info.features.items())
    if not isinstance(features.get("image"), tfds.features.Image):
        raise ValueError(f"{name}: expected a feature 'image', got {', '.join(sorted(features))}")
    splits = builder.info.splits
    held_out = next((key for key in ("test", "validation") if key in splits), None)
    key = {"train": "train", "test": held_out or "train"}.get(split, split)
    for needed in ("train", key):
        if needed not in splits:
            raise ValueError(f"{name} has no split {needed!r}, but {', '.join(splits)}")
    label = features.get("label")
    names = tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else None
    decoders = {"image": tfds.decode.SkipDecoding()}
    train = builder.as_data_source(split="train", decoders=decoders)
    form, notes = form_of(
        lambda index: train[index]["image"],
        len(train),
        lambda index: f"{name}/train, example {index}",
        size=size,
        channels=channels,
        background=background,
    )
    records = train if key == "train" else builder.as_data_source(split=key, decoders=decoders)
    rows = np.arange(len(records))
    if held_out is None:
        rows, note = held_out_rows(name, len(records), split)
        notes = (note, *notes)
    digest = listing.digest(pathlib.Path(builder.data_dir), map(pathlib.Path, splits[key].filepaths))
    return Tfds(f"{name}/{split if held_out is None else key}", form, names, records, rows, notes, digest)


def _prepared_before(name: str, data_dir: pathlib.Path | None) -> Any:
    """The builder of a dataset that was prepared before, in array_record format."""
    import tensorflow_datasets as tfds

    directory = {} if data_dir is None else {"data_dir": str(data_dir)}
    try:
        builder = tfds.builder(name, file_format="array_record", **directory)
    except (tfds.core.DatasetNotFoundError, tfds.core.registered.DatasetNotFoundError) as error:
        known = tfds.list_builders(with_community_datasets=False)
        nearest = difflib.get_close_matches(name.split("/")[0], known, 3) or ["cifar10", "mnist", "imagenet_resized"]
        raise ValueError(f"data.name = {name!r} is not a dataset; the nearest are {', '.join(nearest)}") from error
    except ValueError as error:  # an unknown config or version, whose message lists the known ones over many lines
        raise ValueError(f"data.name = {name!r}: {str(error).splitlines()[0]}") from error
    if not builder.info.splits:
        raise ValueError(
            f"{name} is not prepared in {builder.data_dir}. Preparing it needs TensorFlow, reading it does not: "
            f"pip install tensorflow, then tfds build {name} --file_format=array_record"
        )
    return builder
