"""What the experiments share: trained models, real digits and their classifier, and writing results."""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from sklearn import svm

from diffax import data, devices, runs


def parse_args(description: str | None, *, with_runs: bool = True) -> argparse.Namespace:
    """Parses the command line of an experiment with no arguments but those of `make_parser`."""
    return make_parser(description, with_runs=with_runs).parse_args()


def make_parser(description: str | None, *, with_runs: bool = True) -> argparse.ArgumentParser:
    """An argument parser with --no_write and, if with_runs, --runs."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if with_runs:
        parser.add_argument(
            "--runs", type=pathlib.Path, default=pathlib.Path("runs"), help="the folder of run directories"
        )
    parser.add_argument("--no_write", action="store_true", help="only print the results")
    return parser


def train_if_missing(name: str, workdir: pathlib.Path, *options: str) -> float | str:
    """Trains configs/NAME.py in workdir unless a checkpoint is there.

    Returns the seconds from the command to the trained model, start-up and compilation included; "before" if there was
    a checkpoint.
    """
    if (workdir / "checkpoints").exists():
        return "before"
    return train(name, workdir, *options)["seconds"]


def train(name: str, workdir: pathlib.Path, *options: str) -> dict[str, Any]:
    """Trains configs/NAME.py by launch.py and returns its wall-clock and CPU seconds.

    Both are also written to cost.json in workdir.

    options: further flags of launch.py.
    """
    cost = launch("--config", f"configs/{name}.py", "--workdir", str(workdir), *options)
    (workdir / "cost.json").write_text(json.dumps(cost | {"options": options}))
    return cost


def launch(*flags: str) -> dict[str, float]:
    """Runs launch.py with these flags in a child process, and returns its wall-clock and CPU seconds."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "launch.py", *flags], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(time.monotonic() - start, 1), "cpu_seconds": round(cpu_seconds, 1)}


def trained_model(name: str, runs_dir: pathlib.Path, /, **sampler: Any) -> runs.Trained:
    """The trained model of configs/NAME.py in runs_dir/NAME, trained first if it is not there.

    sampler: changes of config.sampler, the arguments of `runs.Trained.with_sampler`.
    """
    train_if_missing(name, runs_dir / name)
    return runs.open(runs_dir / name).with_sampler(**sampler)


def real_digits() -> np.ndarray:
    """All 1,797 real digits in [-1, 1], (1797, 64) float64."""
    everything = data.digits.load("all")
    return everything.to_network_range(everything.examples).astype(np.float64).reshape(len(everything), -1)


def digit_classifier() -> svm.SVC:
    """An SVM classifier of digits (n, 64) in [-1, 1], trained on the 1,500 training images."""
    labels = data.digits.load("all").labels
    return svm.SVC(gamma="scale", C=10.0).fit(real_digits()[:1500], labels[:1500])


def write_row(path: pathlib.Path, rows: str, name: str, row: dict[str, Any], beside: dict[str, Any]) -> None:
    """Writes one of the rows of a JSON file, where the others stay; each tells when it was measured.

    rows: the key of the rows; beside: what the file has beside them.
    """
    others = json.loads(path.read_text())[rows] if path.exists() else {}
    dated = row | {"measured": time.strftime("%Y-%m-%d %H:%M")}
    path.write_text(json.dumps(beside | {rows: others | {name: dated}}, indent=1) + "\n")


def write(path: pathlib.Path, results: dict[str, Any]) -> None:
    """Writes results as JSON, with the machine and the package versions."""
    path.write_text(json.dumps(results | {"environment": devices.describe()}, indent=1) + "\n")
