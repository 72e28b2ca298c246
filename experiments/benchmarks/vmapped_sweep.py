"""Runs in one compiled program against single runs: python -m experiments.benchmarks.vmapped_sweep

Trains configs/spiral.py with eight seeds, (a) by eight commands one after another, and (b) by one command with
--sweep configs/sweeps/seeds.py --where vmapped. Both begin with an empty compilation cache, so that of the eight
processes the first compiles and the others read; start-up, compilation, measuring, checkpoints and the sweep's summary
are part of both. Wall-clock seconds, and processor seconds, which other work on the machine disturbs less.

Writes vmapped_sweep.json.
"""

import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from diffax.reporting import metrics
from experiments import common

HERE = pathlib.Path(__file__).parent
COMMAND = (sys.executable, "launch.py", "--config", "configs/spiral.py")
NUM_SEEDS = 8


def main() -> None:
    parser = common.make_parser(__doc__, with_runs=False)
    parser.add_argument("--num_steps", type=int, nargs="+", default=[50, 500], help="of training, each measured")
    args = parser.parse_args()
    results = {}
    for num_steps in args.num_steps:
        results[str(num_steps)] = measure(num_steps)
        print(num_steps, results[str(num_steps)], flush=True)
    if not args.no_write:
        common.write(HERE / "vmapped_sweep.json", {"seeds": NUM_SEEDS, "by steps of training": results})


def measure(num_steps: int) -> dict[str, float]:
    """Seconds of both ways, their ratio, and the largest difference between the losses that they log."""
    more = [f"--config.train.num_steps={num_steps}", "--config.train.log_every=1", "--config.optimizer.warmup_steps=10"]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        each = [[*more, f"--config.seed={seed}", "--workdir", str(folder / f"{seed}")] for seed in range(NUM_SEEDS)]
        alone = timed(each, folder / "cache of single runs")
        sweep = ["--sweep", "configs/sweeps/seeds.py", "--where", "vmapped", "--workdir", str(folder / "sweep")]
        together = timed([[*more, *sweep]], folder / "cache of the sweep")
        differences = []
        for seed in range(NUM_SEEDS):
            [run] = (folder / "sweep").glob(f"seed{seed}-*")
            runs = (folder / str(seed), run)
            losses = [[line["loss"] for line in metrics.read(one) if "loss" in line] for one in runs]
            differences.append(np.abs(np.subtract(*losses))[:50].max())
    ways = {"alone": alone, "together": together}
    seconds = {f"{what} seconds, {way}": used[what] for way, used in ways.items() for what in used}
    ratios = {f"{what} ratio": together[what] / alone[what] for what in alone}
    return seconds | ratios | {"largest difference of 50 losses": float(max(differences)), "load before": load}


def timed(commands: list[list[str]], cache: pathlib.Path) -> dict[str, float]:
    """Wall-clock and processor seconds of commands of launch.py, one after another."""
    environment, begun, before = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}, time.monotonic(), processor()
    for command in commands:
        subprocess.run([*COMMAND, *command], env=environment, check=True, stdout=subprocess.DEVNULL)
    return {"wall-clock": time.monotonic() - begun, "processor": processor() - before}


def processor() -> float:
    """Processor seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
