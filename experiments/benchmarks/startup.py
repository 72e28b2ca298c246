"""How long the first step takes to come: python -m experiments.benchmarks.startup

From the command to the first line of metrics, with an empty cache of compiled programs and with what that left behind:
configs/digits_ddpm.py as it is, and the published network of configs/cifar_ddpm.py on a few images. Writes
startup.json.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from experiments import common

HERE = pathlib.Path(__file__).parent
RUNS = ("first", "second", "third")


def main() -> None:
    arguments = common.arguments(__doc__)
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), dtype=np.uint8))
        images = ("--config.data.name=arrays", f"--config.data.path={folder / 'images.npy'}")
        for config, options in (("digits_ddpm", ()), ("cifar_ddpm", (*images, "--config.train.batch_size=4"))):
            cache = folder / f"{config}_cache"
            seconds = {run: to_first_step(config, folder / f"{config}_{run}", cache, *options) for run in RUNS}
            results[config] = seconds | {"first / second": seconds["first"] / seconds["second"]}
            print(config, {key: round(value, 2) for key, value in results[config].items()}, flush=True)
    if not arguments.no_write:
        common.write(HERE / "startup.json", {"seconds to the first step": results})


def to_first_step(config: str, workdir: pathlib.Path, cache: pathlib.Path, *options: str) -> float:
    """Seconds from the command to the first metrics of a new run."""
    command = [sys.executable, "launch.py", "--config", f"configs/{config}.py", "--workdir", str(workdir)]
    command += [*options, "--config.train.log_every=1"]
    begun, lines = time.monotonic(), workdir / "metrics.jsonl"
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (lines.exists() and lines.stat().st_size):
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
            time.sleep(0.02)
        seconds = time.monotonic() - begun
        # Programs are written to the cache before they run; what comes after the first step is not of interest.
        process.kill()
    return seconds


if __name__ == "__main__":
    main()
