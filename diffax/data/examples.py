"""The `Examples` protocol: a dataset with random access, in memory or decoded on demand.

The input pipeline, the training job and the reports use this protocol only. Its implementations are
`data.dataset.Dataset` (in memory) and `data.source.Reader` (decoded from disk, one batch at a time).
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from diffax.data.column import Content
from diffax.typing import Array


@runtime_checkable
class Examples(Protocol):
    """A map-style dataset of `len(examples)` examples of one shape, with or without class labels."""

    @property
    def name(self) -> str:
        """The name of the dataset in messages and reports."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example, without a batch axis."""

    @property
    def num_classes(self) -> int | None:
        """The number of classes; None for a dataset without labels."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes by number; None for a dataset without labels or without names of classes."""

    @property
    def num_levels(self) -> int | None:
        """The number of values of a pixel, 256 for byte images; None for float32 points."""

    @property
    def num_replaced(self) -> int:
        """How many examples could not be decoded so far and were replaced by the next good one."""

    @property
    def notes(self) -> tuple[str, ...]:
        """One line each on what was left out, changed or held out when the data were read."""

    @property
    def files_digest(self) -> str | None:
        """A digest of the names and sizes of the files that the data come from; None for data without files."""

    @property
    def columns(self) -> Mapping[str, Content]:
        """Texts, vectors or sequences of vectors of every example, by the name of the column; empty without any.

        A column may be read from disk, and checked, whenever its name is looked up: keep what a look-up returns. See
        `data.columns.Columns`.
        """

    @property
    def in_memory(self) -> bool:
        """Whether all examples are arrays in host memory; see `data.dataset.in_memory`."""

    def __len__(self) -> int: ...

    def to_network_range(self, batch: Array, /) -> Array:
        """Scales raw examples (batch, *shape) to the network's input: images to [-1, 1], points unchanged; float32."""

    def batch(self, rows: Int64[np.ndarray, " rows"], /) -> dict[str, np.ndarray]:
        """Gathers {'x': (rows, *shape), 'label': int32 (rows,)}; no 'label' for a dataset without labels.

        'x' is raw: uint8 for images, float32 for points.
        """

    def validate(self) -> "Examples":
        """Returns self, or raises a one-line ValueError that says what is wrong and where."""
