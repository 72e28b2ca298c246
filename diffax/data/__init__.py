"""Datasets in memory or on disk and the batches drawn from them: no schedule, no network."""

from diffax.data import (
    augment,
    dataset,
    digits,
    files,
    folder,
    order,
    parquet,
    pipeline,
    prepare,
    resident,
    source,
    tfds,
    toy,
)

__all__ = [
    "augment",
    "dataset",
    "digits",
    "files",
    "folder",
    "order",
    "parquet",
    "pipeline",
    "prepare",
    "resident",
    "source",
    "tfds",
    "toy",
]
