"""How fast batches come: python -m experiments.benchmarks.data

50,000 images of CIFAR-10's shape, batches of 128, random mirroring included: decoded by Pillow from PNG files in a
folder, by two processes; made by the host from memory; gathered on the device. Then the share of the time that a loop
waits for its next batch, with steps of 20 ms from the host and of 1 ms on the device. Writes data.json.
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
from diffax import build, devices
from experiments import common

HERE = pathlib.Path(__file__).parent
BATCH, NUM_FILES, NUM_COPIES, SECONDS, WORKERS = 128, 5000, 10, 5.0, 2


def main() -> None:
    arguments = common.arguments(__doc__)
    flags.FLAGS.mark_as_parsed()  # grain hands them to its workers
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        results: dict[str, Any] = {"bytes a file": write_files(folder)}
        files, memory, device = (
            config_of(folder, **options)
            for options in ({"cache_gb": 0.0, "workers": WORKERS}, {"resident": False}, {"resident": True})
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
    if not arguments.no_write:
        common.write(HERE / "data.json", results)


def write_files(folder: pathlib.Path) -> float:
    """NUM_FILES smooth images, as large in PNG as CIFAR's (2.3 kB), each under NUM_COPIES names; their mean size."""
    (folder / "train").mkdir()
    (folder / "test").mkdir()
    smooth = np.cumsum(np.random.default_rng(1).normal(0, 8, (NUM_FILES, 32, 32, 3)), axis=2) + 128
    sizes = []
    for i, image in enumerate(smooth.clip(0, 255).astype(np.uint8)):
        first = folder / "train" / f"{i:05d}_0.png"
        Image.fromarray(image).save(first)
        sizes.append(first.stat().st_size)
        for copy in range(1, NUM_COPIES):
            (folder / "train" / f"{i:05d}_{copy}.png").hardlink_to(first)
    (folder / "test" / "0.png").hardlink_to(first)
    return float(np.mean(sizes))


def config_of(folder: pathlib.Path, **options: Any) -> ConfigDict:
    config = cifar_ddpm.get_config()
    config.data.update(name="folder", path=str(folder), augment="flip", **options)
    config.train.batch_size = BATCH
    return config


@contextlib.contextmanager
def running(config: ConfigDict) -> Iterator[tuple[Iterator[Any], Callable[[Any, int], jax.Array]]]:
    """The batches of a config after the first few, and what a training step does first to each."""
    examples = build.dataset(config, "train")
    view, resident = build.view(config, examples), build.is_resident(config, examples)
    keys = jax.random.split(jax.random.key(0), BATCH)
    seen = jax.jit(lambda batch, step: view(batch.batch(step) if resident else batch, keys)["x"])
    stream = build.batches(config, examples, 0)
    for step in range(10):
        seen(next(stream), np.int32(step)).block_until_ready()
    yield stream, lambda batch, step: seen(batch, np.int32(step))
    stream.close()  # type: ignore[attr-defined]


def rate(config: ConfigDict) -> float:
    """Images a second that the augmentation gives."""
    with running(config) as (stream, seen):
        begun = time.perf_counter()
        for done, batch in enumerate(stream, start=1):
            seen(batch, done).block_until_ready()
            if time.perf_counter() - begun > SECONDS:
                break
        return done * BATCH / (time.perf_counter() - begun)


def waited(config: ConfigDict, step_seconds: float) -> float:
    """The share of the time spent in asking for the next batch, between steps that leave the processor idle."""
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
