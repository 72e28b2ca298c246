"""How long the first step takes to come: python -m experiments.benchmarks.startup

From the command to the first line of metrics, of configs/digits_ddpm.py as it is and of the published network of
configs/cifar_ddpm.py on a few images:

  new environment   no package was ever imported: Python compiles them to bytecode
  first             bytecode is there, compiled programs are not
  second, third     so are compiled programs
  continued         and a checkpoint, from which the run goes on

Writes startup.json.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from experiments import common

HERE = pathlib.Path(__file__).parent
LOG_AND_SAVE = ("--config.train.log_every=1", "--config.train.checkpoint_every=1")


def main() -> None:
    arguments = common.arguments(__doc__)
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), dtype=np.uint8))
        images = ("--config.data.name=arrays", f"--config.data.path={folder / 'images.npy'}")
        for config, options in (("digits_ddpm", ()), ("cifar_ddpm", (*images, "--config.train.batch_size=4"))):
            results[config] = measure(config, folder / config, *options)
            print(config, {key: round(value, 2) for key, value in results[config].items()}, flush=True)
    if not arguments.no_write:
        common.write(HERE / "startup.json", {"seconds to the first step": results})


def measure(config: str, folder: pathlib.Path, *options: str) -> dict[str, float]:
    """Seconds of every kind of start."""
    command = [sys.executable, "launch.py", "--config", f"configs/{config}.py", *options, *LOG_AND_SAVE]

    def start(workdir: str, cache: str, *, saved: bool = False) -> float:
        places = {"PYTHONPYCACHEPREFIX": folder / "bytecode", "XDG_CACHE_HOME": folder / cache}
        return to_first_step([*command, "--workdir", str(folder / workdir)], folder / workdir, places, saved)

    seconds = {
        "new environment": start("a", "cache of the new environment"),
        "first": start("b", "cache"),
        "second": start("c", "cache"),
        "third": start("d", "cache", saved=True),
        "continued": start("d", "cache"),
    }
    ratios = {f"{name} / second": seconds[name] / seconds["second"] for name in ("new environment", "first")}
    return seconds | ratios


def to_first_step(command: list[str], workdir: pathlib.Path, places: dict[str, pathlib.Path], saved: bool) -> float:
    """Seconds from the command to a new line of metrics; saved: it is then waited for a checkpoint."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {name: str(place) for name, place in places.items()}
    before, begun = num_lines(workdir), time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:

        def wait_for(condition: Callable[[], bool]) -> None:
            while not condition():
                if process.poll() is not None:
                    raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
                time.sleep(0.02)

        wait_for(lambda: num_lines(workdir) > before)
        seconds = time.monotonic() - begun
        if saved:
            wait_for(lambda: any(path.name.isdecimal() for path in (workdir / "checkpoints").glob("*")))
        # Programs are written to the cache before they run; what comes after the first step is not of interest.
        process.kill()
    return seconds


def num_lines(workdir: pathlib.Path) -> int:
    """How many lines of metrics there are."""
    lines = workdir / "metrics.jsonl"
    return lines.read_text().count("\n") if lines.exists() else 0


if __name__ == "__main__":
    main()
