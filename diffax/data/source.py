"""Sources of encoded images on disk, decoded on demand or loaded into memory as a whole.

`Source` is the protocol of a folder, a Hugging Face dataset or a TFDS dataset. `Reader` makes batches of a source for
the input pipeline. `load` decodes a whole source into a `data.dataset.Dataset`.
"""

import dataclasses
from collections.abc import Sequence
from concurrent import futures
from typing import NamedTuple, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Int64, UInt8

from diffax.data import dataset
from diffax.data.columns import Columns
from diffax.data.decoding import CorruptExample as CorruptExample
from diffax.typing import Array


class Example(NamedTuple):
    """A decoded image (height, width, channels) and its class label, None in a source without labels."""

    image: UInt8[np.ndarray, "height width channels"]
    label: int | None


@runtime_checkable
class Source(Protocol):
    """Random access to byte images of one shape that are stored encoded on disk.

    A source may have an attribute `columns` as well: a Mapping from names to raw cells, one for every example; see
    `data.columns`.
    """

    @property
    def name(self) -> str:
        """The name of the source in messages and reports."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every decoded image."""

    @property
    def class_names(self) -> Sequence[str] | None:
        """The names of the classes; None for a source without labels."""

    @property
    def notes(self) -> tuple[str, ...]:
        """One line each on what was left out, changed or held out when the source was opened."""

    @property
    def files_digest(self) -> str | None:
        """A digest of the names and sizes of the files of the source; None if it has none."""

    def __len__(self) -> int: ...

    def example(self, index: int) -> Example:
        """Decodes one example. Raises CorruptExample, whose message names it."""


@final
@dataclasses.dataclass
class Reader:
    """Batches of a source, decoded on demand; implements `data.examples.Examples`.

    skip: whether the next good example replaces one that cannot be decoded; otherwise that is an error.
    corrupt: the indices of the examples that this process has failed to decode so far.
    replacements: the index of an example that this process has replaced so far to that of the example in its place,
        whose cells of `columns` belong to the image.
    """

    source: Source
    skip: bool = False
    corrupt: set[int] = dataclasses.field(default_factory=set)
    replacements: dict[int, int] = dataclasses.field(default_factory=dict)

    def example(self, index: int) -> Example:
        """Decodes an example; with skip, the first good one at or after `index`, cyclically.

        Raises:
          CorruptExample: the example cannot be decoded and skip is False, or no example at all can be decoded.
        """
        for step in range(len(self.source)):
            given = (index + step) % len(self.source)
            try:
                example = self.source.example(given)
            except CorruptExample as error:
                if not self.skip:
                    raise CorruptExample(f"{error}: mend or remove it, or set data.on_corrupt='skip'") from error
                self.corrupt.add(given)
                continue
            if step:
                self.replacements[index] = given
            else:
                self.replacements.pop(index, None)
            return example
        raise CorruptExample(f"{self.source.name}: none of its {len(self.source)} examples can be decoded")

    def __len__(self) -> int:
        return len(self.source)

    @property
    def name(self) -> str:
        """The name of the source."""
        return self.source.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.source.shape

    @property
    def num_classes(self) -> int | None:
        """The number of classes; None for a source without labels."""
        return None if self.source.class_names is None else len(self.source.class_names)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes; None for a source without labels."""
        return None if self.source.class_names is None else tuple(self.source.class_names)

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the source."""
        return self.source.notes

    @property
    def files_digest(self) -> str | None:
        """The digest of the files of the source."""
        return self.source.files_digest

    @property
    def columns(self) -> Columns:
        """The columns of the source, with the cells of every example as it is stored; see `replacements`."""
        return Columns.of(self.source, name=self.name, num_examples=len(self))

    @property
    def num_levels(self) -> int:
        """The 256 values of a byte."""
        return 256

    @property
    def num_replaced(self) -> int:
        """How many examples this process has replaced so far; worker processes count their own."""
        return len(self.corrupt)

    @property
    def in_memory(self) -> bool:
        """Always False."""
        return False

    def to_network_range(self, batch: Array) -> Array:
        """Scales bytes to [-1, 1], float32: x / 127.5 - 1."""
        return dataset.to_network_range(batch, self.num_levels)

    def batch(self, rows: Int64[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        """Decodes {'x': uint8 (rows, height, width, channels), 'label': int32 (rows,)}; 'label' only with labels."""
        images, labels = zip(*(self.example(int(row)) for row in rows), strict=True)
        batch = {"x": np.stack(images)}
        return batch if self.num_classes is None else batch | {"label": np.asarray(labels, np.int32)}

    def validate(self) -> "Reader":
        """Returns self, or raises ValueError for a source without examples. Decodes nothing."""
        if len(self) == 0:
            raise ValueError(f"{self.name}: expected at least one example, got none")
        self.columns.validate(len(self))
        return self


# Examples per task of the thread pool: enough that a thread seldom waits for the interpreter's lock.
_CHUNK = 256


def load(source: Source, *, skip: bool = False, num_threads: int = 8) -> dataset.Dataset:
    """Decodes a whole source into memory, as bytes.

    Args:
      skip: whether the next good example replaces one that cannot be decoded.
      num_threads: threads that decode at the same time.

    Raises:
      CorruptExample: an example that cannot be decoded, and skip is False.
    """
    reader = Reader(source, skip)
    images = np.empty((len(source), *source.shape), np.uint8)
    labels = None if reader.num_classes is None else np.empty(len(source), np.int32)

    def decode(first: int) -> None:
        for index in range(first, min(first + _CHUNK, len(source))):
            image, label = reader.example(index)
            images[index] = image
            if labels is not None:
                labels[index] = -1 if label is None else label

    with futures.ThreadPoolExecutor(num_threads, thread_name_prefix="decode") as executor:
        for _ in executor.map(decode, range(0, len(source), _CHUNK)):
            pass
    given = np.arange(len(source))
    for asked, replacement in reader.replacements.items():
        given[asked] = replacement
    whole = dataset.Dataset(
        name=source.name,
        examples=images,
        labels=labels,
        num_classes=reader.num_classes,
        num_levels=reader.num_levels,
        class_names=reader.class_names,
        notes=reader.notes,
        files_digest=reader.files_digest,
        num_replaced=reader.num_replaced,
        columns=reader.columns.selected(given) if reader.replacements else reader.columns,
    )
    return whole.validate()
