"""Datasets, data augmentation and input pipelines, on the host or on the device; no schedule and no network."""

from diffax.data import (
    augment,
    dataset,
    device_dataset,
    digits,
    examples,
    files,
    folder,
    order,
    parquet,
    pipeline,
    prepare,
    source,
    tfds,
    toy,
)

__all__ = [
    "augment",
    "dataset",
    "device_dataset",
    "digits",
    "examples",
    "files",
    "folder",
    "order",
    "parquet",
    "pipeline",
    "prepare",
    "source",
    "tfds",
    "toy",
]
