"""Does it work on real images? python -m experiments.real_data --photographs DIR --mnist DIR

Trains what is not yet trained in --runs, each in its own time on a CPU, and draws from it:

- cifar_small: 2.7M parameters on photographs in folders of classes (DIR/train/CLASS/*, DIR/test/CLASS/*);
- mnist_ddpm: 1.1M parameters on MNIST's four official files, each digit asked for in turn;
- one_class: a DDPM of 50 steps (configs/fashion_mnist.py) on the threes of MNIST;
- cifar_ddpm: 200 steps of the published network of 35.7M parameters, in batches of 8, on the photographs.

Writes results.json, where every model keeps the machine it was measured on, and the pictures of this folder.
"""

import argparse
import json
import pathlib
from typing import Any

import numpy as np
from sklearn import svm

from diffax import data, devices
from diffax.jobs import sample
from diffax.jobs.model import Model
from diffax.jobs.run_directory import read_config
from diffax.reporting import images, metrics, plots
from experiments import common

HERE = pathlib.Path(__file__).parent
DIGIT = 3
NAMES = ("cifar_small", "mnist_ddpm", "one_class", "cifar_ddpm")
CONFIGS = {"one_class": "fashion_mnist"}
NUM_SAMPLES = {"cifar_small": 100, "mnist_ddpm": 500, "one_class": 200}
# 200 steps on a CPU: a smaller batch, a warm-up to match, and no thousand evaluations for a picture of noise.
FEW_STEPS = ("batch_size=8", "num_steps=200", "log_every=1", "num_images=1", "checkpoint_every=200")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=pathlib.Path, required=True, help="a folder with train/CLASS, test/CLASS")
    parser.add_argument("--mnist", type=pathlib.Path, required=True, help="a folder with MNIST's four files")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs"), help="where run directories are")
    parser.add_argument("--only", choices=NAMES, nargs="*", default=NAMES)
    parser.add_argument("--no_write", action="store_true", help="print only")
    arguments = parser.parse_args()
    devices.enable_compilation_cache()
    path = HERE / "results.json"
    for name in arguments.only:
        workdir = arguments.runs / name
        common.trained(CONFIGS.get(name, name), workdir, *options(name, arguments.photographs, arguments.mnist))
        results = measured(name, workdir, arguments.mnist, not arguments.no_write)
        print(f"\n{name}")
        for what, value in results.items():
            print(f"  {what:<64}{value:>10.4g}" if isinstance(value, float) else f"  {what:<64}{value!s:>10}")
        if not arguments.no_write:
            kept = json.loads(path.read_text()) if path.exists() else {}
            kept[name] = {"results": results, "environment": devices.describe()}
            path.write_text(json.dumps(kept, indent=1) + "\n")


def options(name: str, photographs: pathlib.Path, mnist: pathlib.Path) -> list[str]:
    """What a run changes of its config."""
    if name == "mnist_ddpm":
        return [f"--config.data.path={mnist}"]
    if name == "one_class":
        return ["--config.data.name=mnist", f"--config.data.path={mnist}", f"--config.data.only_label={DIGIT}"]
    folder = ["--config.data.name=folder", f"--config.data.path={photographs}"]
    if name == "cifar_small":
        return folder
    few = [f"--config.train.{option}" for option in (*FEW_STEPS, "sample_every=200")]
    return [*folder, *few, "--config.optimizer.warmup_steps=100", "--config.sampler.num_steps=10"]


def measured(name: str, workdir: pathlib.Path, mnist: pathlib.Path, write: bool) -> dict[str, Any]:
    """What training cost and how the loss fell; what the samples are."""
    config, lines = read_config(workdir), metrics.read(workdir)
    training = [line for line in lines if "loss" in line]
    speeds = np.array([line["steps_per_second"] for line in training])
    cost = json.loads((workdir / "cost.json").read_text())
    results: dict[str, Any] = {
        "parameters": Model.build(config).num_params,
        "steps": config.train.num_steps,
        "batch": config.train.batch_size,
        "minutes of training by the clock": cost["seconds"] / 60,
        "minutes of training of the processor": cost["cpu_seconds"] / 60,
        "seconds a step, median": float(np.median(1 / speeds)),
        "loss of the first steps logged": float(np.mean([line["loss"] for line in training[:5]])),
        "loss of the last": float(np.mean([line["loss"] for line in training[-5:]])),
        "held-out loss": [line for line in lines if "held_out_loss" in line][-1]["held_out_loss"],
    }
    if write:
        curve = ([line["step"] for line in training], [line["loss"] for line in training])
        plots.lines(HERE / f"{name}_loss.png", {"training loss": {name: curve}}, xlabel="step", log="y")
    if name not in NUM_SAMPLES:
        return results
    drawn = np.load(sample.run(config, workdir, num_samples=NUM_SAMPLES[name], batch_size=50))
    if write:
        shown = drawn["samples"][:100]
        images.save_png(HERE / f"{name}.png", images.grid(shown, 10), scale=2 if shown.shape[-1] == 3 else 1)
    return results | (agreement(drawn, mnist) if config.data.name == "mnist" else {})


def agreement(drawn: Any, mnist: pathlib.Path) -> dict[str, float]:
    """How often a classifier of real digits, trained on 10,000 of them, reads the one asked for."""
    train, test = (data.prepare.read_local("mnist", mnist, split) for split in ("train", "test"))
    classifier = svm.SVC(gamma="scale", C=10.0).fit(flat(train.examples[:10_000]), train.labels[:10_000])
    inside = (drawn["samples"][:, 2:-2, 2:-2] + 1) * 127.5
    asked = drawn["labels"] if "labels" in drawn else np.full(len(inside), DIGIT)
    return {
        "share of samples read as the digit asked for": float(np.mean(classifier.predict(flat(inside)) == asked)),
        "share of 2,000 held-out digits read right": float(
            classifier.score(flat(test.examples[:2000]), test.labels[:2000])
        ),
    }


def flat(pixels: np.ndarray) -> np.ndarray:
    """(n, 784) in [0, 1]."""
    return pixels.reshape(len(pixels), -1) / 255.0


if __name__ == "__main__":
    devices.configure()
    main()
