"""--mode inspect_data: size, classes, pixel statistics and speed of a data set, and a picture of augmented examples."""

import argparse
import itertools
import pathlib
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from diffax import build_data, data
from diffax.data.examples import Examples
from diffax.reporting import images, plots, progress
from diffax.runs import remarks
from diffax.runs.errors import UserError, for_people

_NUM_SHOWN, _NUM_MEASURED, _SECONDS = 100, 5000, 3.0


def flags(parser: argparse.ArgumentParser) -> None:
    """This mode has no flags of its own."""


def run(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> None:
    """Prints sizes, classes, pixel statistics and the pipeline's speed; writes a picture of augmented examples.

    Raises:
      UserError: data that are missing or damaged.
    """
    path = _picture_path(workdir)
    with for_people():
        train, test = build_data.splits(config, report=progress.downloads())
        preprocess, on_device = build_data.preprocess(config, train), build_data.is_on_device(config, train)
    if config.train.batch_size < 1:
        raise UserError(f"train.batch_size must be >= 1, got {config.train.batch_size}")
    print(f"{train.name}: {len(train):,} examples of shape {train.shape}, {len(test):,} held out ({test.name})")
    for line in [*data.columns.described(train), *remarks.on(train, test)]:
        print(line)
    for name, kind in getattr(train, "kinds", {}).items():
        print(f"the network is told {name}: {kind}")
    sample = data.pipeline.Pipeline(train, min(_NUM_MEASURED, len(train)), config.seed).batch(0)
    if "label" in sample:
        counts = np.bincount(sample["label"], minlength=train.num_classes or 0)
        share = f" in {len(sample['label']):,} of them" if len(sample["label"]) < len(train) else ""
        print(f"{train.num_classes} classes, {counts.min():,} to {counts.max():,} examples each{share}")
    x = np.asarray(train.to_network_range(sample["x"]), np.float64)
    axes = tuple(range(x.ndim - 1))
    mean, std = _listed(x.mean(axes)), _listed(x.std(axes))
    print(f"as a network sees them: {x.min():.3f} to {x.max():.3f}, mean {mean}, standard deviation {std}")
    megabytes = len(train) * int(np.prod(train.shape)) * (1 if train.num_levels else 4) / 1e6
    where, batch_size = "on the device" if on_device else "from the host", config.train.batch_size
    print(f"{megabytes:,.1f} MB, {where}: {_speed(config, train):,.0f} examples/s in batches of {batch_size}")

    keys = jax.random.split(jax.random.key(config.seed), min(_NUM_SHOWN, len(x)))
    shown = np.asarray(jax.jit(preprocess)({"x": sample["x"][: len(keys)]}, keys)["x"])
    if train.num_levels is None:
        plots.scatter(path, shown, x.astype(np.float32), titles=("augmented", "data"))
    else:
        images.save_png(path, shown)
    print(f"{len(shown)} examples, augmentation {config.data.augment.name}: {path}", flush=True)


def _picture_path(workdir: pathlib.Path) -> pathlib.Path:
    """DIR_data.png beside the directory DIR, which is left as it is."""
    directory = workdir.resolve()  # . and .. have no name of their own
    if not directory.name:
        raise UserError(f"--workdir {workdir}: choose another, {directory} has no name")
    return (workdir if workdir.name not in ("", "..") else directory).with_name(f"{directory.name}_data.png")


def _speed(config: ConfigDict, examples: Examples) -> float:
    """Examples a second that reach the device, and are gathered there if they live on it."""

    def received(batch: Any, step: jax.Array) -> jax.Array:
        return (batch.batch(step) if isinstance(batch, data.device_dataset.DeviceDataset) else batch)["x"]

    gather = jax.jit(received)
    stream, done = zip(itertools.count(), build_data.batches(config, examples, 0), strict=False), 0
    step, batch = next(stream)
    gather(batch, step).block_until_ready()
    begun = time.perf_counter()
    for step, batch in stream:
        gather(batch, step).block_until_ready()
        done += config.train.batch_size
        if time.perf_counter() - begun > _SECONDS:
            break
    return done / (time.perf_counter() - begun)


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3f}" for value in np.atleast_1d(values))
