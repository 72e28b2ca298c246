"""What images come from: anything that has a length and an example, decoded when asked for, at every index."""

import dataclasses
from collections.abc import Sequence
from concurrent import futures
from typing import NamedTuple, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Int64, UInt8

from diffax.data import dataset
from diffax.data.decoding import CorruptExample as CorruptExample
from diffax.typing import Array


class Example(NamedTuple):
    """A decoded image (height, width, channels) and its class, None where there are none."""

    image: UInt8[np.ndarray, "height width channels"]
    label: int | None


@runtime_checkable
class Source(Protocol):
    """Byte images of one shape, on disk."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def class_names(self) -> Sequence[str] | None:
        """None where there are no labels."""

    def __len__(self) -> int: ...

    def example(self, index: int) -> Example:
        """Decodes one example. Raises CorruptExample naming it."""


@final
@dataclasses.dataclass
class Reader:
    """Examples of a source, where corrupt ones are in the way of nothing: with skip the next good one stands in.

    corrupt: the indices found so far that could not be decoded.
    """

    source: Source
    skip: bool = False
    corrupt: set[int] = dataclasses.field(default_factory=set)

    def example(self, index: int) -> Example:
        """The example, or with skip the first good one after it, cyclically.

        Raises:
          CorruptExample: it cannot be decoded and skip is False, or nothing can.
        """
        for step in range(len(self.source)):
            try:
                return self.source.example((index + step) % len(self.source))
            except CorruptExample as error:
                if not self.skip:
                    raise CorruptExample(f"{error}: mend or remove it, or set data.on_corrupt='skip'") from error
                self.corrupt.add((index + step) % len(self.source))
        raise CorruptExample(f"{self.source.name}: none of its {len(self.source)} examples can be decoded")

    def __len__(self) -> int:
        return len(self.source)

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.source.shape

    @property
    def num_classes(self) -> int | None:
        return None if self.source.class_names is None else len(self.source.class_names)

    @property
    def num_levels(self) -> int:
        """Of a byte."""
        return 256

    def to_network_range(self, examples: Array) -> Array:
        """As that of a dataset in memory."""
        return dataset.to_network_range(examples, self.num_levels)

    def batch(self, rows: Int64[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        """The examples of these rows: 'x', bytes (rows, height, width, channels), and 'label', int32, if there are."""
        images, labels = zip(*(self.example(int(row)) for row in rows), strict=True)
        batch = {"x": np.stack(images)}
        return batch if self.num_classes is None else batch | {"label": np.asarray(labels, np.int32)}


# Handed to a thread at once: enough that a thread seldom waits for the interpreter.
_CHUNK = 256


def load(source: Source, *, skip: bool = False, num_threads: int = 8) -> dataset.Dataset:
    """All examples in memory, as bytes.

    Raises:
      CorruptExample: an example that cannot be decoded, and skip is False.
    """
    reader = Reader(source, skip)
    images = np.empty((len(source), *source.shape), np.uint8)
    labels = None if reader.num_classes is None else np.empty(len(source), np.int32)

    def place(first: int) -> None:
        for index in range(first, min(first + _CHUNK, len(source))):
            image, label = reader.example(index)
            images[index] = image
            if labels is not None:
                labels[index] = -1 if label is None else label

    with futures.ThreadPoolExecutor(num_threads, thread_name_prefix="decode") as executor:
        for _ in executor.map(place, range(0, len(source), _CHUNK)):
            pass
    whole = dataset.Dataset(
        name=source.name,
        examples=images,
        labels=labels,
        num_classes=reader.num_classes,
        num_levels=reader.num_levels,
        num_replaced=len(reader.corrupt),
    )
    return whole.validate()
