"""Cost against size, as `--mode plan` says it and as it then is: python -m experiments.benchmarks.plan

Trains configs/cifar_ddpm.py (35.7M parameters) for some steps on random images with a batch of 16. With the share of
the speed of matrix products that this run measured, `--mode plan` extrapolates the seconds and gigabytes of other
batches, larger images and several CPU devices, which share the cores of this machine. Then a step of each is measured:
the median of the seconds, and by how much the memory of the process grows once the step is compiled.

    --only 64x32@1,16x32@2      some sizes: BATCHxSIDE@DEVICES

Every size is written to plan.json once it is measured, and replaces the former one of its name.
"""

import argparse
import contextlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from diffax import build_data, build_training, devices, runs
from diffax.jobs import plan
from experiments import common
from experiments.benchmarks import _cifar_random
from experiments.benchmarks.peers import child

HERE = pathlib.Path(__file__).parent
BASE = "16x32@1"
SIZES = ["1x32@1", "4x32@1", BASE, "64x32@1", "128x32@1", "4x64@1", "1x128@1", "16x32@2", "16x32@4", "16x32@8"]
STEPS = 3


def main() -> None:
    parser = common.make_parser(__doc__, with_runs=False)
    parser.add_argument("--only", default=",".join(SIZES), help="sizes, separated by commas")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)  # what a child process is asked for
    args = parser.parse_args()
    if args.work:
        print(json.dumps(work(*args.work)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        base = asked("measure", BASE, folder)
        for size in args.only.split(","):
            # Planned first, in a process of its own: the other finds the step compiled, and needs no memory for that.
            planned = asked("plan", size, folder)
            found = planned | (base if size == BASE else asked("measure", size, folder))
            print(f"{size:<10}", "  ".join(f"{what} {value:.4g}" for what, value in found.items()), flush=True)
            if not args.no_write:
                beside = {"steps": STEPS, "share measured at": BASE, "environment": devices.describe()}
                common.write_row(HERE / "plan.json", "sizes", size, found, beside)


def asked(what: str, size: str, folder: pathlib.Path) -> dict[str, float]:
    """The answer of a child process: the number of devices is settled once in each."""
    command = [sys.executable, "-m", "experiments.benchmarks.plan", "--work", what, size, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def work(what: str, size: str, folder: str) -> dict[str, float]:
    """Plans or measures a size; the base's share of the speed of matrix products goes between them by a file."""
    batch, side, num_devices = map(int, size.replace("@", "x").split("x"))
    devices.configure()
    devices.use_cpu_devices(num_devices)
    devices.enable_compilation_cache()
    config = _cifar_random.config(pathlib.Path(folder) / f"images_{side}.npy", batch, {}, side)
    run = pathlib.Path(folder) / "run"
    if what == "plan":
        with contextlib.redirect_stdout(io.StringIO()):
            made = plan.plan(config, run)
        return {
            "planned seconds": (made.seconds_left or 0.0) / config.train.num_steps,
            "planned GB": num_devices * made.peak_bytes / 1e9,  # of a process, which has all of them here
        }
    return measured(config, run if size == BASE else None)


def measured(config: ConfigDict, run: pathlib.Path | None) -> dict[str, float]:
    """Seconds of a step and gigabytes; run: a run directory in which the share of the ceiling is noted, if any."""
    examples = build_data.dataset(config, "train")
    model = runs.Model.build(config, runs.DataDescription.of(config, examples))
    program = runs.Program.build(model, examples, build_training.mesh(config))
    batch = next(build_data.batches(config, examples, 0, program.mesh))
    compiled, flops = program.compile(batch)
    step = program.paced(compiled)
    child.start_peak()  # the plan does not count what compiling takes
    before = child.peak_bytes()
    state = program.init_state()
    seconds = []
    for _ in range(STEPS + 1):
        begun = time.perf_counter()
        state, _ = step(state, batch)
        jax.block_until_ready(state)
        seconds.append(time.perf_counter() - begun)
    median = float(np.median(seconds[1:]))
    if run is not None and flops:
        run.mkdir()
        note = {"step": 0, "flops_utilization": flops / median / program.ceiling()}
        (run / "metrics.jsonl").write_text(json.dumps(note) + "\n")
    return {"seconds": median, "GB": (child.peak_bytes() - before) / 1e9}


if __name__ == "__main__":
    main()
