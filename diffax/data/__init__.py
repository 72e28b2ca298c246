"""Datasets, data augmentation and input pipelines, on the host or on the device; no schedule and no network."""

from diffax.data import (
    augment,
    dataset,
    device_dataset,
    digits,
    examples,
    files,
    fingerprint,
    folder,
    huggingface,
    order,
    pipeline,
    pixels,
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
    "fingerprint",
    "folder",
    "huggingface",
    "order",
    "pipeline",
    "pixels",
    "prepare",
    "source",
    "tfds",
    "toy",
]
