"""In-memory datasets: examples, optional class labels, and the scaling of examples to the network's input range."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from diffax.data.columns import Columns
from diffax.data.examples import Examples
from diffax.typing import Array

HELD_OUT_EVERY = 50


@final
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """An in-memory dataset of images or points; implements `data.examples.Examples`.

    name: the name in messages and reports.
    examples: uint8 images (n, height, width, channels) of values 0 .. num_levels - 1; or float32 points (n, *dims),
        already in the network's units.
    labels: int32 (n,), the class of each example, 0 .. num_classes - 1; or None.
    num_classes: the number of classes; None exactly when labels is None.
    num_levels: the number of values of a pixel (256 for byte images, 17 for the digits); None for points.
    class_names: the names of the classes by number; None where they have none but their numbers.
    num_replaced: how many examples could not be decoded. Each of them is a copy of the next good example.
    notes: one line each on what was left out, changed or held out when the data were read.
    files_digest: of the names and sizes of the files that the data come from; None for data without files.
    eps: float32, of the shape of examples: the noise that each example is paired with in training (data.pairs); None
        for plain data. Examples with noise are float32 in the network's range, images too.
    columns: texts, vectors or sequences of vectors beside the examples, by name: raw cells as `data.column.normalised`
        takes them, one per example. The constructor makes `data.columns.Columns` of them.

    The constructor checks nothing; `validate` checks everything, but columns on disk only when they are looked up.
    """

    name: str
    examples: np.ndarray
    labels: np.ndarray | None = None
    num_classes: int | None = None
    num_levels: int | None = None
    class_names: tuple[str, ...] | None = None
    num_replaced: int = 0
    notes: tuple[str, ...] = ()
    files_digest: str | None = None
    eps: np.ndarray | None = None
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", _columns(self))

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.examples.shape[1:]

    @property
    def in_memory(self) -> bool:
        """Always True."""
        return True

    def to_network_range(self, batch: Shaped[Array, "batch *dims"]) -> Float32[Array, "batch *dims"]:
        """Scales examples of this dataset to the network's input: bytes to [-1, 1], floats unchanged."""
        return batch if batch.dtype != np.uint8 or self.num_levels is None else to_network_range(batch, self.num_levels)

    def batch(self, rows: Int64[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        """Gathers {'x': (rows, *shape), 'label': int32 (rows,)}, 'label' if there are labels, 'eps' of pairs."""
        batch = {"x": self.examples[rows]} | ({} if self.eps is None else {"eps": self.eps[rows]})
        return batch if self.labels is None else batch | {"label": self.labels[rows]}

    def validate(self) -> "Dataset":
        """Returns self, or raises a one-line ValueError that says what is wrong and where."""
        if self.examples.ndim < 2 or len(self) == 0:
            raise ValueError(f"{self.name}: expected at least one example, (n, ...), got shape {self.examples.shape}")
        if self.examples.dtype == np.uint8:
            _check_images(self)
        elif self.examples.dtype == np.float32:
            _check_points(self)
        else:
            raise ValueError(f"{self.name}: examples must be uint8 images or float32, got {self.examples.dtype}")
        if self.labels is not None:
            _check_labels(self.name, len(self), self.labels, self.num_classes)
        elif self.num_classes is not None:
            raise ValueError(f"{self.name}: num_classes is {self.num_classes} but there are no labels")
        if self.class_names is not None and len(self.class_names) != self.num_classes:
            raise ValueError(
                f"{self.name}: expected as many class_names as num_classes = {self.num_classes}, got "
                f"{len(self.class_names)}"
            )
        _columns(self).validate(len(self))
        return self


def in_memory(what: str, examples: Examples) -> Dataset:
    """Narrows `examples` to an in-memory dataset for a feature that needs all of it at once.

    Args:
      what: the name of that feature, with which the error message begins.

    Raises:
      ValueError: the examples are decoded from disk.
    """
    examples = getattr(examples, "plain", examples)  # without conditions
    if not isinstance(examples, Dataset):
        raise ValueError(f"{what} needs the data in memory: raise data.cache_gb")
    return examples


def only(dataset: Dataset, label: int | str) -> Dataset:
    """Selects the examples of one class, given by its name or number; the result has no labels.

    Raises:
      ValueError: a dataset without labels, an unknown class, or no example of that class.
    """
    if dataset.labels is None or dataset.num_classes is None:
        raise ValueError(f"data.only_label = {label} needs labels, and {dataset.name} has none")
    number = class_number("data.only_label", label, dataset.num_classes, dataset.class_names)
    chosen = dataset.labels == number
    name = described_class(number, dataset.class_names)
    if not chosen.any():
        raise ValueError(f"data.only_label = {label}: {dataset.name} has no example of class {name}")
    return dataclasses.replace(
        dataset,
        name=f"{dataset.name}, class {name}",
        examples=dataset.examples[chosen],
        eps=None if dataset.eps is None else dataset.eps[chosen],
        labels=None,
        num_classes=None,
        class_names=None,
        columns=_columns(dataset).selected(np.flatnonzero(chosen)),
    ).validate()


def class_number(setting: str, label: int | str, num_classes: int, class_names: Sequence[str] | None) -> int:
    """The number of a class given by its name or number; a name that is a number, such as a folder 10, is a name first.

    Args:
      setting: the name of the setting that gives the label, for error messages.

    Raises:
      ValueError: no such class.
    """
    names, text = list(class_names or ()), str(label)
    if text in names:
        return names.index(text)
    number = int(text) if text.isdecimal() else -1
    if 0 <= number < num_classes:
        return number
    known = f" or one of {listed(names)}" if names and not _are_numbers(names) else ""
    raise ValueError(f"{setting} must be in 0..{num_classes - 1}{known}, got {label}")


def described_class(number: int, class_names: Sequence[str] | None) -> str:
    """A class in messages: 3, or 3 (cat) where its name says more than its number."""
    is_named = class_names is not None and class_names[number] != str(number)
    return f"{number} ({class_names[number]})" if is_named and class_names is not None else str(number)


def listed(names: Sequence[str], most: int = 10) -> str:
    """The first names, separated by commas, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def held_out_rows(name: str, num_examples: int, split: str) -> tuple[Int64[np.ndarray, " rows"], str]:
    """The rows of a split of data that have no held-out split of their own, and a note that says so.

    Every 50th example is in the split test, all others are in train.

    Raises:
      ValueError: fewer than 50 examples, so that the test split is empty.
    """
    indices = np.arange(num_examples)
    held_out = indices % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    if not held_out.any():
        raise ValueError(f"{name}: {num_examples} examples are too few, one of {HELD_OUT_EVERY} is held out")
    note = f"no held-out split: every {HELD_OUT_EVERY}th example is held out, {held_out.sum():,} of {num_examples:,}"
    return indices[held_out == (split == "test")], note


def split_of(dataset: Dataset, split: str) -> Dataset:
    """The train or test split of a dataset that has no splits of its own; see `held_out_rows`."""
    rows, note = held_out_rows(dataset.name, len(dataset), split)
    return dataclasses.replace(
        dataset,
        name=f"{dataset.name}/{split}",
        examples=dataset.examples[rows],
        eps=None if dataset.eps is None else dataset.eps[rows],
        labels=None if dataset.labels is None else dataset.labels[rows],
        notes=(*dataset.notes, note),
        columns=_columns(dataset).selected(rows),
    )


def _columns(dataset: Dataset) -> Columns:
    return Columns.wrapped(dataset.columns, name=dataset.name, num_examples=len(dataset))


def _are_numbers(names: Sequence[str]) -> bool:
    return list(names) == [str(number) for number in range(len(names))]


def padded(dataset: Dataset, width: int) -> Dataset:
    """Zero padding: adds `width` zero pixels on every side of the images (28 x 28 become 32 x 32 with width 2).

    Raises:
      ValueError: a negative width, or a dataset of points.
    """
    if width < 0 or dataset.num_levels is None or dataset.eps is not None:
        raise ValueError(f"data.pad must be >= 0 and is for images without noise, got {width} for {dataset.name}")
    frame = ((0, 0), (width, width), (width, width), (0, 0))
    return dataclasses.replace(dataset, examples=np.pad(dataset.examples, frame))


def to_network_range(pixels: Shaped[Array, "batch *dims"], num_levels: int) -> Float32[Array, "batch *dims"]:
    """Scales pixels to [-1, 1]: 2 x / (num_levels - 1) - 1.

    That is x / 127.5 - 1 for bytes and x / 8 - 1 for the 17-level digits.
    """
    return pixels.astype(np.float32) / np.float32((num_levels - 1) / 2) - np.float32(1)


def _check_images(dataset: Dataset) -> None:
    if dataset.eps is not None:
        raise ValueError(f"{dataset.name}: examples paired with noise must be float32, got uint8")
    if dataset.examples.ndim != 4:
        raise ValueError(f"{dataset.name}: uint8 examples must be NHWC images, got shape {dataset.examples.shape}")
    if dataset.num_levels is None or not 2 <= dataset.num_levels <= 256:
        raise ValueError(f"{dataset.name}: uint8 examples need num_levels in 2..256, got {dataset.num_levels}")
    if (top := int(dataset.examples.max())) >= dataset.num_levels:
        raise ValueError(f"{dataset.name}: pixel value {top} is outside 0..{dataset.num_levels - 1}")


def _check_points(dataset: Dataset) -> None:
    if dataset.eps is not None and (dataset.eps.shape, dataset.eps.dtype) != (dataset.examples.shape, np.float32):
        raise ValueError(
            f"{dataset.name}: eps must be float32 of the examples' shape {dataset.examples.shape}, got "
            f"{dataset.eps.dtype} of shape {dataset.eps.shape}"
        )
    if dataset.num_levels is not None and dataset.eps is None:
        raise ValueError(f"{dataset.name}: num_levels is for uint8 images, got {dataset.num_levels} with float32")
    for name, values in (("examples", dataset.examples), ("eps", dataset.eps)):
        if values is not None and not (finite := np.isfinite(values)).all():
            first = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise ValueError(f"{dataset.name}: {name} must be finite, got {values[first]} at index {first}")


def _check_labels(name: str, num_examples: int, labels: np.ndarray, num_classes: int | None) -> None:
    if labels.shape != (num_examples,):
        raise ValueError(f"{name}: expected {num_examples} labels, one per example, got shape {labels.shape}")
    if labels.dtype != np.int32:
        raise ValueError(f"{name}: labels must be int32, got {labels.dtype}")
    if num_classes is None or num_classes < 1:
        raise ValueError(f"{name}: labels need num_classes >= 1, got {num_classes}")
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        index = int(outside[0])
        raise ValueError(f"{name}: label {labels[index]} at index {index} is outside 0..{num_classes - 1}")
