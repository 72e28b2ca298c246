"""Data sets, preprocessing and batches from config.data; part of build."""

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffax import arrays, build_conditions, build_pairing, choices, conditions, data, sharding, training
from diffax.choices import Slot
from diffax.conditions import Kind
from diffax.data.dataset import Dataset, in_memory
from diffax.data.examples import Examples
from diffax.data.source import Reader, Source

SOURCES: dict[str, Callable[..., Dataset | Source]] = {
    "digits": data.digits.load,
    **{name: functools.partial(data.toy.load, name) for name in data.toy.DISTRIBUTIONS},
    "folder": data.folder.open_folder,
    "arrays": data.files.load_arrays,
    "huggingface": data.huggingface.open_huggingface,
    "pairs": data.pairs.load_pairs,
    **data.tfds.OFFICIAL,
}


def _no_augmentation(keys: jax.Array, x: jax.Array) -> jax.Array:
    return x


# (keys, images) to images, or to images and the condition that tells the network what was done.
AUGMENTATIONS: dict[str, Callable[..., Any]] = {
    "none": _no_augmentation,
    "flip": data.augment.flipped,
    "geometric": data.augment.geometric,
}
# A name that is in no table is one of TFDS, celeb_a or imagenet_resized/64x64.
SOURCE_SLOT = Slot(
    SOURCES,
    passed=("split", "name", "report"),
    fallback=lambda name: functools.partial(data.tfds.open_tfds, name=name),
)
AUGMENT_SLOT = Slot(AUGMENTATIONS, is_function=True)
# A data set is kept on the device where it takes no more than this share of its memory; where that is unknown, on a CPU
# for one, where it is in that memory anyway, up to so many bytes.
_DEVICE_SHARE, _DEVICE_BYTES = 0.25, 4e9


def dataset(
    config: ConfigDict,
    split: str,
    *,
    report: build_conditions.Report | None = None,
    known: Mapping[str, Kind] | None = None,
) -> Examples:
    """config.data: the split "train" or "test" (held out); in memory if it takes no more than cache_gb decoded.

    Args:
      report: called with a name, how much is downloaded or encoded, how much there is, and the unit.
      known: the kinds of conditions by name, where no example of the split has a value.

    Raises:
      ValueError: an unknown name (with the nearest), or data that are missing or damaged.
    """
    options = config.data
    if options.on_corrupt not in ("raise", "skip"):
        raise ValueError(f"data.on_corrupt must be raise or skip, got {options.on_corrupt!r}")
    source = choices.make("data", options, SOURCE_SLOT, split=split, report=report)
    examples = source if isinstance(source, Examples) else _cached(source, options)
    return build_conditions.attach(config, _selected(examples, options), report=report, known=known)


def _selected(examples: Examples, options: ConfigDict) -> Examples:
    """The examples of data.only_label alone, and padded by data.pad."""
    if not examples.in_memory:
        if options.only_label is not None or options.pad:
            raise ValueError("data.only_label and data.pad need the data in memory: raise data.cache_gb")
        return examples
    if options.only_label is not None:
        examples = data.dataset.only(in_memory("data.only_label", examples), options.only_label)
    return data.dataset.padded(in_memory("data.pad", examples), options.pad) if options.pad else examples.validate()


def splits(config: ConfigDict, *, report: build_conditions.Report | None = None) -> tuple[Examples, Examples]:
    """config.data: the training split and the held-out split.

    Raises:
      ValueError: as for `dataset`; or splits whose shapes or classes differ.
    """
    train = dataset(config, "train", report=report)
    held_out = dataset(config, "test", report=report, known=getattr(train, "kinds", None))
    for what in ("shape", "num_levels", "num_classes", "class_names", "kinds"):
        ours, theirs = getattr(train, what, None), getattr(held_out, what, None)
        if ours != theirs:
            raise ValueError(f"{what} of {train.name} is {ours}, and that of the held-out {held_out.name} {theirs}")
    return train, held_out


def _cached(source: Any, options: ConfigDict) -> Examples:
    if not isinstance(source, Source):
        raise ValueError(
            f"data.name = {options.name!r} must give a diffax.data.dataset.Dataset, a Source or Examples, "
            f"got {type(source).__name__}"
        )
    skip = options.on_corrupt == "skip"
    if len(source) * int(np.prod(source.shape)) <= options.cache_gb * 1e9:
        return data.source.load(source, skip=skip)
    return Reader(source, skip)


def preprocess(config: ConfigDict, examples: Examples, *, augment: bool = True) -> training.Preprocess:
    """Preprocessing in the training step: bytes to the network's range, dequantization, data augmentation."""
    kind, dequantize, num_levels = config.data.augment.name, config.data.dequantize, examples.num_levels
    if kind != "none" and len(examples.shape) != 3:
        raise ValueError(f"data.augment = {kind!r} is for images, and {examples.name} has examples of {examples.shape}")
    if dequantize and num_levels is None:
        raise ValueError(f"data.dequantize is for images, and {examples.name} has none")
    augmented = choices.make("data.augment", config.data.augment, AUGMENT_SLOT)
    build_pairing.check_pairs(config, examples)
    coupled = build_pairing.coupling(config, examples)

    def run(batch: training.Batch, keys: jax.Array) -> training.Batch:
        if dequantize and num_levels is not None:
            noise_keys, keys = arrays.split_keys(keys, 2)
            x = data.augment.dequantized(noise_keys, batch["x"], num_levels)
        else:
            x = examples.to_network_range(batch["x"])
        told = {name: data.conditioned.chosen(conditions.own_keys(keys, name), value) for name, value in batch.items()}
        if augment:
            result = augmented(keys, x)
            x, done = result if isinstance(result, tuple) else (result, None)
            told |= {} if done is None else {build_conditions.AUGMENTATION: done}
        batch = told | {"x": x}
        return batch if coupled is None else batch | {"eps": coupled(conditions.own_keys(keys, "coupling"), batch)}

    return run


def batches(config: ConfigDict, examples: Examples, start_step: int, mesh: Mesh | None = None) -> Iterator[Any]:
    """The train step's argument from start_step on: a data set on every device, or batches from the host.

    Batches from the host are split over the devices of the mesh; without one they go to the first device.
    """
    mesh = sharding.make_mesh(devices=jax.local_devices()[:1]) if mesh is None else mesh
    size, seed = config.train.batch_size, config.seed
    if is_on_device(config, examples):
        everywhere = functools.partial(sharding.from_copies, sharding.replicated(mesh))
        return data.device_dataset.batches(examples, size, seed, start_step, everywhere)
    stream = data.pipeline.Pipeline(examples, size, seed, *sharding.process_rows(mesh))
    rows = stream.batches(start_step, num_workers=_num_workers(config, examples))
    return data.pipeline.ahead(rows, functools.partial(sharding.from_rows, mesh))


def _num_workers(config: ConfigDict, examples: Examples) -> int:
    """config.data.workers; by default one for each processor, up to eight, where images are decoded for every batch."""
    if config.data.workers is not None:
        return config.data.workers
    return 0 if examples.in_memory else min(8, os.cpu_count() or 1)


def sharded(preprocess: training.Preprocess, mesh: Mesh) -> training.Preprocess:
    """Preprocessing of which every device of the mesh does its part, wherever the batch was gathered."""

    def run(batch: training.Batch, keys: jax.Array) -> training.Batch:
        parts = sharding.batch_sharding(mesh, len(keys))
        return preprocess(jax.lax.with_sharding_constraint(batch, parts), jax.lax.with_sharding_constraint(keys, parts))

    return run


def is_on_device(config: ConfigDict, examples: Examples) -> bool:
    """config.data.on_device, or whether the data fit on the device.

    Raises:
      ValueError: data that are not in memory cannot be on the device.
    """
    if not examples.in_memory:
        if config.data.on_device:
            raise ValueError("data.on_device needs the data in memory: raise data.cache_gb")
        return False
    if config.data.on_device is not None:
        return config.data.on_device
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    whole = in_memory("data.on_device", examples)
    return whole.examples.nbytes + (0 if whole.eps is None else whole.eps.nbytes) <= (
        _DEVICE_BYTES if limit is None else _DEVICE_SHARE * limit
    )
