"""From config.data to examples, batches and what is done to them in the step; part of build."""

import functools
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffax import arrays, data, sharding, training
from diffax.data.dataset import Dataset
from diffax.data.source import Reader, Source

Examples = Dataset | Reader
AUGMENTATIONS = ("none", "flip", "geometric")
# A dataset is kept on the device where it takes no more than this share of its memory; without such a figure, a CPU
# for one, where it is in that memory anyway, up to so many bytes.
_RESIDENT_SHARE, _RESIDENT_BYTES = 0.25, 4e9


def dataset(config: ConfigDict, split: str, *, report: data.prepare.Report | None = None) -> Examples:
    """config.data: split "train" or "test" (held out); in memory if it takes no more than cache_gb decoded.

    Raises:
      ValueError: an unknown name (with the nearest), or data that are not there or not what they should be.
    """
    options = config.data
    if options.on_corrupt not in ("raise", "skip"):
        raise ValueError(f"data.on_corrupt must be raise or skip, got {options.on_corrupt!r}")
    named = _named(options, split, report)
    found = named if isinstance(named, Dataset) else _cached(named, options)
    if isinstance(found, Reader):
        if options.only_label is not None or options.pad:
            raise ValueError("data.only_label and data.pad need the data in memory: raise data.cache_gb")
        return found
    if options.only_label is not None:
        found = data.dataset.only(found, options.only_label)
    return data.dataset.padded(found, options.pad) if options.pad else found


def _named(options: ConfigDict, split: str, report: data.prepare.Report | None) -> Dataset | Source:
    name, path = options.name, pathlib.Path(options.path).expanduser()
    if name == "digits":
        return data.digits.load(split).validate()
    if name in data.toy.DISTRIBUTIONS:
        return data.toy.load(name, split).validate()
    how: dict[str, Any] = {"size": options.size, "channels": options.channels}
    if name in ("folder", "arrays", "parquet"):
        if not options.path:
            raise ValueError(f"data.name = {name!r} needs data.path: --config.data.path=...")
        if name == "folder":
            return data.folder.open_folder(path, split, **how)
        if name == "parquet":
            return data.parquet.open_parquet(path, split, **how)
        return data.files.load_arrays(path, split)
    if name in data.prepare.ARCHIVES and options.path:
        return data.prepare.read_local(name, path, split)
    return data.tfds.open_tfds(name, split, data_dir=path if options.path else None, report=report, **how)


def _cached(source: Source, options: ConfigDict) -> Examples:
    skip = options.on_corrupt == "skip"
    if len(source) * int(np.prod(source.shape)) <= options.cache_gb * 1e9:
        return data.source.load(source, skip=skip)
    return Reader(source, skip)


def view(config: ConfigDict, examples: Examples, *, augment: bool = True) -> training.View:
    """What the step does to a batch first: bytes to the network's range, config.data.dequantize and augment."""
    kind, dequantize, num_levels = config.data.augment, config.data.dequantize, examples.num_levels
    if kind not in AUGMENTATIONS:
        raise ValueError(f"data.augment must be one of {', '.join(AUGMENTATIONS)}, got {kind!r}")
    if kind != "none" and len(examples.shape) != 3:
        raise ValueError(f"data.augment = {kind!r} is for images, and {examples.name} has examples of {examples.shape}")

    if dequantize and num_levels is None:
        raise ValueError(f"data.dequantize is for images, and {examples.name} has none")

    def seen(batch: training.Batch, keys: jax.Array) -> training.Batch:
        if dequantize and num_levels is not None:
            noise_keys, keys = arrays.split_keys(keys, 2)
            x = data.augment.dequantized(noise_keys, batch["x"], num_levels)
        else:
            x = examples.to_network_range(batch["x"])
        if kind == "geometric":
            context = jnp.zeros((len(x), data.augment.NUM_GEOMETRIC))
            x, context = data.augment.geometric(keys, x) if augment else (x, context)
            return batch | {"x": x, "context": context}
        return batch | {"x": data.augment.flipped(keys, x) if kind == "flip" and augment else x}

    return seen


def batches(config: ConfigDict, examples: Examples, start_step: int, mesh: Mesh | None = None) -> Iterator[Any]:
    """What to call the train step with from start_step on: a dataset on every device, or batches from the host.

    Those of the host are split over the devices of the mesh; without one they go to the first device. They are stacks
    of train.steps_per_dispatch batches, where that is not 1.
    """
    mesh = sharding.make_mesh(devices=jax.local_devices()[:1]) if mesh is None else mesh
    size, seed, stride = config.train.batch_size, config.seed, config.train.steps_per_dispatch
    if isinstance(examples, Dataset) and is_resident(config, examples):
        everywhere = functools.partial(sharding.from_copies, sharding.replicated(mesh))
        return data.resident.batches(examples, size, seed, start_step, everywhere, stride=stride)
    stream = data.pipeline.Pipeline(examples, size, seed, *sharding.process_rows(mesh))
    rows = stream.batches(start_step, num_workers=_num_workers(config, examples))
    if stride > 1:
        rows = data.pipeline.stacked(rows, stride)
    return data.pipeline.ahead(rows, functools.partial(sharding.from_rows, mesh, stacked=stride > 1))


def _num_workers(config: ConfigDict, examples: Examples) -> int:
    """config.data.workers, or where images are decoded for every batch one for each processor, up to eight."""
    if config.data.workers is not None:
        return config.data.workers
    return min(8, os.cpu_count() or 1) if isinstance(examples, Reader) else 0


def sharded(view: training.View, mesh: Mesh) -> training.View:
    """The view of a batch of which every device of the mesh takes its part, wherever it was gathered."""

    def seen(batch: training.Batch, keys: jax.Array) -> training.Batch:
        parts = sharding.batch_sharding(mesh, len(keys))
        return view(jax.lax.with_sharding_constraint(batch, parts), jax.lax.with_sharding_constraint(keys, parts))

    return seen


def is_resident(config: ConfigDict, examples: Examples) -> bool:
    """config.data.resident, or whether the data fit on the device.

    Raises:
      ValueError: data that are not in memory are asked to be resident.
    """
    wanted = config.data.resident
    if isinstance(examples, Reader):
        if wanted:
            raise ValueError("data.resident needs the data in memory: raise data.cache_gb")
        return False
    if wanted is not None:
        return wanted
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    return examples.examples.nbytes <= (_RESIDENT_BYTES if limit is None else _RESIDENT_SHARE * limit)
