"""What experiments share: trained models to begin with, and the record of a result at the end."""

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

from diffax import data, devices
from diffax.jobs.model import Model
from diffax.jobs.run_directory import read_config


def arguments(description: str | None) -> argparse.Namespace:
    """--runs and --no_write."""
    return parser(description).parse_args()


def parser(description: str | None) -> argparse.ArgumentParser:
    """One that knows --runs and --no_write."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs"), help="where run directories are")
    made.add_argument("--no_write", action="store_true", help="print only")
    return made


def trained(name: str, workdir: pathlib.Path, *options: str) -> float | str:
    """Seconds that training took, start-up and compilation included; "before" if it was there already."""
    if (workdir / "checkpoints").exists():
        return "before"
    return train(name, workdir, *options)["seconds"]


def train(name: str, workdir: pathlib.Path, *options: str) -> dict[str, Any]:
    """What training by launch.py cost: seconds by the clock and of the processor. Kept beside the run's config."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "launch.py", "--config", f"configs/{name}.py", "--workdir", str(workdir), *options]
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cost = {"seconds": round(time.monotonic() - start, 1), "cpu_seconds": round(cpu_seconds, 1)}
    (workdir / "cost.json").write_text(json.dumps(cost | {"options": options}))
    return cost


def model(name: str, runs: pathlib.Path, /, **sampler: Any) -> tuple[Model, Any]:
    """The model of configs/NAME.py and its averaged parameters, trained first where `runs` does not have it.

    sampler: entries of config.sampler to change.
    """
    workdir = runs / name
    trained(name, workdir)
    config = read_config(workdir)
    with config.unlocked():
        config.sampler.update(sampler)
    built = Model.build(config)
    return built, built.restore(workdir)[1]["ema"][0]


def real_digits() -> np.ndarray:
    """All 1,797 in [-1, 1], (1797, 64) float64."""
    everything = data.digits.load("all")
    return everything.to_network_range(everything.examples).astype(np.float64).reshape(len(everything), -1)


def digit_classifier() -> svm.SVC:
    """A classifier of digits (n, 64) in [-1, 1], trained on the 1,500 real ones that models are trained on."""
    labels = data.digits.load("all").labels
    return svm.SVC(gamma="scale", C=10.0).fit(real_digits()[:1500], labels[:1500])


def write(path: pathlib.Path, results: dict[str, Any]) -> None:
    """Writes the results as JSON, with the machine and the versions."""
    path.write_text(json.dumps(results | {"environment": devices.describe()}, indent=1) + "\n")
