"""Datasets of TensorFlow Datasets, read without TensorFlow."""

import dataclasses
import difflib
import pathlib
from collections.abc import Sequence
from typing import Any, final

from diffax.data import prepare
from diffax.data.decoding import Form, form_of
from diffax.data.source import Example


@final
@dataclasses.dataclass(frozen=True)
class Tfds:
    """See open_tfds. records: random access to the undecoded examples."""

    name: str
    form: Form
    class_names: Sequence[str] | None
    records: Sequence[dict[str, Any]]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.form.shape

    def __len__(self) -> int:
        return len(self.records)

    def example(self, index: int) -> Example:
        record = self.records[index]
        pixels = self.form.decode(record["image"], f"{self.name}, example {index}")
        return Example(pixels, None if self.class_names is None else int(record["label"]))


def open_tfds(
    name: str,
    split: str,
    *,
    data_dir: pathlib.Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    report: prepare.Report | None = None,
) -> Tfds:
    """A split of a TFDS dataset with a feature `image`; its `label`, if it has one, is the class.

    Prepares those of prepare.ARCHIVES; others have to be there already, in array_record format.

    Args:
      name: as TFDS has it, imagenet_resized/64x64 for one.
      data_dir: where TFDS keeps its datasets, ~/tensorflow_datasets unless given.
      size, channels: as for a folder of images.

    Raises:
      ValueError: an unknown name (with the nearest ones), a dataset that is not prepared (with the way to do it), one
        without images, or an unknown split.
    """
    made = prepare.prepare(name, data_dir, report=report) if name in prepare.ARCHIVES else _on_disk(name, data_dir)
    return opened(made, name, split, size=size, channels=channels)


def opened(made: Any, name: str, split: str, *, size: int | None = None, channels: int | None = None) -> Tfds:
    """The split of a prepared builder."""
    import tensorflow_datasets as tfds

    features = dict(made.info.features.items())
    if not isinstance(features.get("image"), tfds.features.Image):
        raise ValueError(f"{name}: expected a feature 'image', got {', '.join(sorted(features))}")
    if split == "test" and "test" not in made.info.splits and "validation" in made.info.splits:
        split = "validation"
    if split not in made.info.splits:
        raise ValueError(f"{name} has no split {split!r}, but {', '.join(made.info.splits)}")
    decoders = {"image": tfds.decode.SkipDecoding()}
    records = made.as_data_source(split=split, decoders=decoders)
    label = features.get("label")
    names = list(label.names) if isinstance(label, tfds.features.ClassLabel) else None
    form = form_of(records[0]["image"], f"{name}, example 0", size=size, channels=channels)
    return Tfds(f"{name}/{split}", form, names, records)


def _on_disk(name: str, data_dir: pathlib.Path | None) -> Any:
    """The builder of a dataset that was prepared before."""
    import tensorflow_datasets as tfds

    where = {} if data_dir is None else {"data_dir": str(data_dir)}
    try:
        made = tfds.builder(name, file_format="array_record", **where)
    except (tfds.core.DatasetNotFoundError, tfds.core.registered.DatasetNotFoundError) as error:
        known = tfds.list_builders(with_community_datasets=False)
        nearest = difflib.get_close_matches(name.split("/")[0], known, 3) or ["cifar10", "mnist", "imagenet_resized"]
        raise ValueError(f"data.name = {name!r} is not a dataset; the nearest are {', '.join(nearest)}") from error
    except ValueError as error:  # an unknown config or version, whose message lists the known ones over many lines
        raise ValueError(f"data.name = {name!r}: {str(error).splitlines()[0]}") from error
    if not made.info.splits:
        raise ValueError(
            f"{name} is not prepared in {made.data_dir}. Preparing it needs TensorFlow, reading it does not: "
            f"pip install tensorflow, then tfds build {name} --file_format=array_record"
        )
    return made
