"""Training and sampling on CIFAR-10 and MNIST: python -m experiments.real_data --photographs DIR --mnist DIR

Trains what is not in the folder of run directories yet, and draws samples:

- mnist: 1.1M parameters on MNIST's four official files, class-conditional;
- one_class: a DDPM of 50 steps (configs/fashion_mnist.py) on the threes of MNIST;
- cifar_ddpm: 200 training steps of DDPM's network of 35.7M parameters, in batches of 8, on photographs in folders of
  classes (DIR/train/CLASS/*, DIR/test/CLASS/*).

Writes results.json, where every model keeps the machine that it was measured on, and the pictures of this folder.
"""

import json
import pathlib
from typing import Any

import jax
import numpy as np
from sklearn import svm

from diffax import data, devices, runs
from diffax.reporting import images, metrics, plots
from experiments import common

HERE = pathlib.Path(__file__).parent
DIGIT = 3
NAMES = ("mnist", "one_class", "cifar_ddpm")
CONFIGS = {"one_class": "fashion_mnist"}
NUM_SAMPLES, BATCH = {"mnist": 500, "one_class": 200}, 50
# cifar_ddpm for 200 steps on a CPU: a smaller batch, a shorter warm-up, and one sample of 10 steps instead of 1,000.
FEW_STEPS = (
    "train.batch_size=8",
    "train.num_steps=200",
    "train.log_every=1",
    "train.checkpoint_every=200",
    "evaluators.samples.num_samples=1",
    "evaluators.samples.every=200",
    "evaluators.held_out_loss.every=200",
    "optimizer.warmup_steps=100",
    "sampler.num_steps=10",
)


def main() -> None:
    parser = common.make_parser(__doc__)
    parser.add_argument("--photographs", type=pathlib.Path, required=True, help="a folder with train/CLASS, test/CLASS")
    parser.add_argument("--mnist", type=pathlib.Path, required=True, help="a folder with MNIST's four files")
    parser.add_argument("--only", choices=NAMES, nargs="*", default=NAMES, help="train and measure only these")
    args = parser.parse_args()
    devices.enable_compilation_cache()
    path = HERE / "results.json"
    for name in args.only:
        workdir = args.runs / name
        common.train_if_missing(CONFIGS.get(name, name), workdir, *options(name, args.photographs, args.mnist))
        results = measure(name, workdir, args.mnist, not args.no_write)
        print(f"\n{name}")
        for what, value in results.items():
            print(f"  {what:<64}{value:>10.4g}" if isinstance(value, float) else f"  {what:<64}{value!s:>10}")
        if not args.no_write:
            kept = json.loads(path.read_text()) if path.exists() else {}
            kept[name] = {"results": results, "environment": devices.describe()}
            path.write_text(json.dumps(kept, indent=1) + "\n")


def options(name: str, photographs: pathlib.Path, mnist: pathlib.Path) -> list[str]:
    """The flags of a run that change its config."""
    if name == "mnist":
        return [f"--config.data.path={mnist}"]
    if name == "one_class":
        return ["--config.data.name=mnist", f"--config.data.path={mnist}", f"--config.data.only_label={DIGIT}"]
    folder = ["--config.data.name=folder", f"--config.data.path={photographs}"]
    return [*folder, *(f"--config.{option}" for option in FEW_STEPS)]


def measure(name: str, workdir: pathlib.Path, mnist: pathlib.Path, write: bool) -> dict[str, Any]:
    """The cost of training, the losses and, where there are samples, their quality."""
    trained, lines = runs.open(workdir), metrics.read(workdir)
    config = trained.config
    training = [line for line in lines if "loss" in line]
    speeds = np.array([line["steps_per_second"] for line in training])
    cost = json.loads((workdir / "cost.json").read_text())
    results: dict[str, Any] = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(trained.params())),
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
    samples, labels = trained.draw(NUM_SAMPLES[name], batch_size=BATCH), trained.model.labels(NUM_SAMPLES[name])
    if write:
        images.save_png(HERE / f"{name}.png", images.grid(samples[:100], 10))
    return results | agreement(samples, np.full(len(samples), DIGIT) if labels is None else labels, mnist)


def agreement(samples: np.ndarray, labels: np.ndarray, mnist: pathlib.Path) -> dict[str, float]:
    """How often an SVM, trained on 10,000 real digits, reads the label that a sample was conditioned on.

    samples: (n, 32, 32, 1) in [-1, 1], with a margin of two pixels.
    """
    train, test = (data.prepare.read_local("mnist", mnist, split) for split in ("train", "test"))
    classifier = svm.SVC(gamma="scale", C=10.0).fit(flat(train.examples[:10_000]), train.labels[:10_000])
    inside = (samples[:, 2:-2, 2:-2] + 1) * 127.5
    return {
        "share of samples read as the digit asked for": float(np.mean(classifier.predict(flat(inside)) == labels)),
        "share of 2,000 held-out digits read right": float(
            classifier.score(flat(test.examples[:2000]), test.labels[:2000])
        ),
    }


def flat(pixels: np.ndarray) -> np.ndarray:
    """Pixels of 0 to 255 as features, (n, 784) in [0, 1]."""
    return pixels.reshape(len(pixels), -1) / 255.0


if __name__ == "__main__":
    devices.configure()
    main()
