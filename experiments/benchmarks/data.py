"""The throughput of the data pipeline: python -m experiments.benchmarks.data

50,000 images of CIFAR-10's shape in batches of 128, with random horizontal flips: decoded by Pillow from PNG files in a
folder, by two processes; from the host's memory; gathered on the device. Then the share of the time that a loop waits
for its next batch, with steps of 20 ms from the host and of 1 ms on the device. Writes data.json.
"""

import contextlib
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict
from PIL import Image

from configs import cifar_ddpm
from diffax import build_data, devices, resolve
from experiments import common

HERE = pathlib.Path(__file__).parent
BATCH, NUM_FILES, NUM_COPIES, SECONDS, WORKERS = 128, 5000, 10, 5.0, 2


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    flags.FLAGS.mark_as_parsed()  # grain passes absl's flags to its workers
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        results: dict[str, Any] = {"bytes a file": write_files(folder)}
        files, memory, device = (
            make_config(folder, **options)
            for options in ({"cache_gb": 0.0, "workers": WORKERS}, {"on_device": False}, {"on_device": True})
        )
        for what, config in (
            ("decoded from files, host", files),
            ("from memory, host", memory),
            ("gathered on the device", device),
        ):
            results[f"images/s, {what}"] = rate(config)
        for what, config, seconds in (
            ("files, 20 ms steps", files, 0.020),
            ("memory, 20 ms steps", memory, 0.020),
            ("the device, 1 ms steps", device, 0.001),
        ):
            results[f"of the time waited for {what}"] = waited(config, seconds)
    for what, value in results.items():
        print(f"{what:<50}{value:>14,.4g}")
    if not args.no_write:
        common.write(HERE / "data.json", results)


def write_files(folder: pathlib.Path, num_files: int = NUM_FILES) -> float:
    """Writes num_files smooth images, each under NUM_COPIES names, and returns their mean size in bytes.

    As PNG files they are about as large as CIFAR-10's (2.3 kB).
    """
    (folder / "train").mkdir()
    (folder / "test").mkdir()
    smooth = np.cumsum(np.random.default_rng(1).normal(0, 8, (num_files, 32, 32, 3)), axis=2) + 128
    sizes = []
    for i, image in enumerate(smooth.clip(0, 255).astype(np.uint8)):
        first = folder / "train" / f"{i:05d}_0.png"
        Image.fromarray(image).save(first)
        sizes.append(first.stat().st_size)
        for copy in range(1, NUM_COPIES):
            (folder / "train" / f"{i:05d}_{copy}.png").hardlink_to(first)
    (folder / "test" / "0.png").hardlink_to(first)
    return float(np.mean(sizes))


def make_config(folder: pathlib.Path, **options: Any) -> ConfigDict:
    """configs/cifar_ddpm.py on the files of a folder; options: settings of config.data."""
    data = {"name": "folder", "path": str(folder), "augment.name": "flip"} | options
    overrides = [(f"data.{key}", str(value)) for key, value in data.items()]
    return resolve.resolve(resolve.override(cifar_ddpm.get_config(), [*overrides, ("train.batch_size", str(BATCH))]))


@contextlib.contextmanager
def running(config: ConfigDict) -> Iterator[tuple[Iterator[Any], Callable[[Any, int], jax.Array]]]:
    """The batches of a config after the first ten, and the preprocessing that a training step begins with."""
    examples = build_data.dataset(config, "train")
    preprocess, on_device = build_data.preprocess(config, examples), build_data.is_on_device(config, examples)
    keys = jax.random.split(jax.random.key(0), BATCH)
    preprocessed = jax.jit(lambda batch, step: preprocess(batch.batch(step) if on_device else batch, keys)["x"])
    stream = build_data.batches(config, examples, 0)
    for step in range(10):
        preprocessed(next(stream), np.int32(step)).block_until_ready()
    yield stream, lambda batch, step: preprocessed(batch, np.int32(step))
    stream.close()  # type: ignore[attr-defined]


def rate(config: ConfigDict) -> float:
    """Preprocessed images per second."""
    with running(config) as (stream, preprocessed):
        begun = time.perf_counter()
        for done, batch in enumerate(stream, start=1):
            preprocessed(batch, done).block_until_ready()
            if time.perf_counter() - begun > SECONDS:
                break
        return done * BATCH / (time.perf_counter() - begun)


def waited(config: ConfigDict, step_seconds: float) -> float:
    """The share of the time spent waiting for the next batch, between steps that leave the processor idle."""
    with running(config) as (stream, _):
        waiting, begun = 0.0, time.perf_counter()
        while time.perf_counter() - begun < SECONDS:
            asked = time.perf_counter()
            next(stream)
            waiting += time.perf_counter() - asked
            time.sleep(step_seconds)
        return waiting / (time.perf_counter() - begun)


if __name__ == "__main__":
    devices.configure()
    main()
