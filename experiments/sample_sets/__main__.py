"""Does a sample set depend on how it is drawn? python -m experiments.sample_sets

Draws 10,000 digits of the network of configs/digits.py by `launch.py --mode sample`: in one go, killed twice and
continued, in batches of 64 instead of 256, and on eight devices. Compares the sets pixel by pixel, and their metrics
against the training images. Writes results.json.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from diffax import build_data, devices, resolve, runs
from diffax.data import shards
from diffax.reporting import formats, tables
from diffax.runs.measuring import Protocol
from experiments import common

HERE = pathlib.Path(__file__).parent
METRICS = "('frechet','kernel','precision_recall','sliced_wasserstein')"
VARIANTS: dict[str, tuple[str, ...]] = {
    "in one go": (),
    "killed twice": (),
    "batches of 64": ("--batch_size=64",),
    "8 devices": ("--cpu_devices=8",),
    "8 devices, batches of 2,048": ("--cpu_devices=8", "--batch_size=2048"),
}
KILLED_AT = (0.3, 0.7)  # of the samples


def main() -> None:
    parser = common.make_parser(__doc__)
    parser.add_argument("--num_samples", type=int, default=10_000, help="of each set (default 10,000)")
    args = parser.parse_args()
    common.train_if_missing("digits", args.runs / "digits")
    with tempfile.TemporaryDirectory() as folder:
        sets = {
            name: drawn(args.runs / "digits", pathlib.Path(folder) / f"run{index}", args.num_samples, name)
            for index, name in enumerate(VARIANTS)
        }
        results = compared(args.runs / "digits", sets, args.num_samples)
    rows = [
        [name, *map(str, found["difference"].values()), *found["shown"].values()] for name, found in results.items()
    ]
    first = next(iter(results.values()))
    print(tables.aligned(["set", *first["difference"], *first["shown"]], rows))
    if not args.no_write:
        common.write(HERE / "results.json", {"num_samples": args.num_samples, "sets": results})


def drawn(run: pathlib.Path, copy: pathlib.Path, num_samples: int, name: str) -> tuple[pathlib.Path, float]:
    """The directory of a set drawn in a copy of the run, and the seconds that it took."""
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("generated", "samples", "events.*"))
    command = [sys.executable, "launch.py", "--workdir", str(copy), "--mode=sample", f"--num_samples={num_samples}"]
    begun = time.monotonic()
    if name == "killed twice":
        for share in KILLED_AT:
            kill_at(command, copy / "generated", int(share * num_samples))
    subprocess.run([*command, *VARIANTS[name]], check=True, stdout=subprocess.DEVNULL)
    [path] = (copy / "generated").iterdir()
    return path, time.monotonic() - begun


def kill_at(command: list[str], generated: pathlib.Path, num_samples: int) -> None:
    """Runs the command until there are so many samples on the disk, and a little longer, and kills it by SIGKILL."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        if sum(map(shards.count, generated.glob("*"))) >= num_samples:
            time.sleep(1)  # into the next shard
            process.kill()
            process.wait()
            return
        time.sleep(0.05)
    raise RuntimeError(f"the command ended before {num_samples} samples were there")


def compared(run: pathlib.Path, sets: dict[str, tuple[pathlib.Path, float]], num_samples: int) -> dict[str, Any]:
    """For each set its largest difference from the first one, in grey levels, and its metrics."""
    config = resolve.override(
        runs.open(run).config, [("evaluation.metrics", METRICS), ("evaluation.num_samples", str(num_samples))]
    )
    protocol = Protocol.of(resolve.resolve(config), *build_data.splits(config))
    results: dict[str, Any] = {}
    pixels = {
        name: runs.sample_set(path).examples.batch(np.arange(num_samples))["x"] for name, (path, _) in sets.items()
    }
    reference = next(iter(pixels.values())).astype(int)
    for (name, (path, seconds)), x in zip(sets.items(), pixels.values(), strict=True):
        difference = np.abs(x.astype(int) - reference)
        estimates = protocol.measure(runs.sample_set(path), None)
        results[name] = {
            "difference": {
                "largest, in grey levels": int(difference.max()),
                "pixels that differ": int((difference > 0).sum()),
            },
            "metrics": {metric: estimate.value for metric, estimate in estimates.items()},
            "shown": {metric: formats.with_error(*estimate) for metric, estimate in estimates.items()},
            "seconds": round(seconds, 1),
        }
    return results


if __name__ == "__main__":
    devices.configure()
    main()
