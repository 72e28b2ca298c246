"""How fast batches come: python -m experiments.benchmarks.data

50,000 images of CIFAR-10's shape, of random bytes, batches of 128: made by the host from PNG files in a folder (decoded
by Pillow in two threads), made by the host from memory, and gathered on the device; random mirroring included. Then the
share of the time that a loop of 20 ms steps waits for the host, and one of 1 ms steps for the device. Writes data.json.
"""

import itertools
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from PIL import Image

from configs import digits_ddpm
from diffax import build, data, devices
from experiments import common

HERE = pathlib.Path(__file__).parent
BATCH, NUM_FILES, SECONDS = 128, 4000, 5.0


def main() -> None:
    arguments = common.arguments(__doc__)
    pixels = np.random.default_rng(0).integers(0, 256, (50_000, 32, 32, 3), dtype=np.uint8)
    memory = data.dataset.Dataset(name="noise", examples=pixels, num_levels=256)
    config = digits_ddpm.get_config()
    with config.unlocked():
        config.data.augment, config.train.batch_size = "flip", BATCH
    view = build.view(config, memory)
    keys = jax.random.split(jax.random.key(0), BATCH)
    mirrored = jax.jit(lambda batch: view(batch, keys)["x"])
    gathered = jax.jit(lambda held, step: view(held.batch(step), keys)["x"])

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name) / "train"
        folder.mkdir()
        (pathlib.Path(name) / "test").mkdir()
        # Photographs compress to half of what noise does: smooth images, as large in PNG as CIFAR's, 2.3 kB.
        smooth = np.cumsum(np.random.default_rng(1).normal(0, 8, (NUM_FILES, 32, 32, 3)), axis=2) + 128
        for i, image in enumerate(smooth.clip(0, 255).astype(np.uint8)):
            Image.fromarray(image).save(folder / f"{i:05d}.png")
        source = data.folder.open_folder(pathlib.Path(name), "train")
        decoded = data.pipeline.Pipeline(data.source.Reader(source), BATCH)
        results: dict[str, Any] = {
            "bytes a file": float(np.mean([path.stat().st_size for path in folder.iterdir()])),
            "images/s, decoded from files, host": rate(decoded.batches(), mirrored),
        }
    host = data.pipeline.Pipeline(memory, BATCH)
    results["images/s, from memory, host"] = rate(data.pipeline.ahead(host.batches()), mirrored)
    resident = enumerate(data.resident.batches(memory, BATCH, 0))
    results["images/s, gathered on the device"] = rate(resident, lambda pair: gathered(pair[1], pair[0]))
    results["of the time waited for the host, 20 ms steps"] = waited(data.pipeline.ahead(host.batches()), 0.020)
    results["of the time waited for the order, 1 ms steps"] = waited(data.resident.batches(memory, BATCH, 0), 0.001)
    for what, value in results.items():
        print(f"{what:<50}{value:>14,.4g}")
    if not arguments.no_write:
        common.write(HERE / "data.json", results)


def rate(batches: Iterator[Any], use: Callable[[Any], jax.Array]) -> float:
    """Images a second that come out of `use`."""
    for batch in itertools.islice(batches, 5):
        use(batch).block_until_ready()
    begun, done = time.perf_counter(), 0
    for batch in batches:
        use(batch).block_until_ready()
        done += BATCH
        if time.perf_counter() - begun > SECONDS:
            break
    return done / (time.perf_counter() - begun)


def waited(batches: Iterator[Any], step_seconds: float) -> float:
    """The share of the time spent in asking for the next batch, between steps that leave the processor idle."""
    next(batches)
    waiting, begun = 0.0, time.perf_counter()
    while time.perf_counter() - begun < SECONDS:
        asked = time.perf_counter()
        next(batches)
        waiting += time.perf_counter() - asked
        time.sleep(step_seconds)
    return waiting / (time.perf_counter() - begun)


if __name__ == "__main__":
    devices.configure()
    main()
