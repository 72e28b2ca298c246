"""Start-up time from the command to the first training step: python -m experiments.benchmarks.startup

The time from the command to the first line of metrics, for configs/digits.py and for configs/cifar_ddpm.py on a few
images:

  new environment   no package was ever imported, so that Python compiles them to bytecode
  first             with bytecode, with an empty compilation cache
  second, third     with bytecode and compiled programs
  continued         the same, resumed from a checkpoint

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
    args = common.parse_args(__doc__, with_runs=False)
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), dtype=np.uint8))
        images = ("--config.data.name=arrays", f"--config.data.path={folder / 'images.npy'}")
        for config, options in (("digits", ()), ("cifar_ddpm", (*images, "--config.train.batch_size=4"))):
            results[config] = measure(config, folder / config, *options)
            print(config, {key: round(value, 2) for key, value in results[config].items()}, flush=True)
    if not args.no_write:
        common.write(HERE / "startup.json", {"seconds to the first step": results})


def measure(config: str, folder: pathlib.Path, *options: str) -> dict[str, float]:
    """Seconds to the first step of every kind of start."""
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
    """Seconds from the command to a new line of metrics, after which the process is killed.

    saved: wait for a checkpoint before killing it.
    """
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
        # Programs are written to the compilation cache before they run, so that nothing is lost by killing it here.
        process.kill()
    return seconds


def num_lines(workdir: pathlib.Path) -> int:
    """The number of lines of metrics in a run directory."""
    path = workdir / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


if __name__ == "__main__":
    main()
