"""Photographs in few steps, at equal cost of training: python -m experiments.few_steps.photographs --photographs DIR

Trains on the photographs in DIR (train/CLASS/*, test/CLASS/*) what `--runs` does not have yet, and compares 1,000
samples with the 10,000 test photographs in the features of EfficientNet-Lite0 (extra `features`), by the number of
evaluations: configs/cifar_small.py, its flow sibling configs/cifar_flow.py, and one- and few-step models of the same
network at equal cost. These are improved MeanFlow, the 2-rectified flow and the distilled one; the last two start from
a flow of half the steps and share its pairs of noise and sample. Models are trained and sampled in bfloat16. Writes
photographs.json, photographs.png and photographs_samples.png.
"""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from diffax import devices, runs
from diffax.reporting import images, plots
from experiments import common, digit_quality, photographs
from experiments.few_steps import pairs

HERE = pathlib.Path(__file__).parent
NUM_SAMPLES = 1_000
MANY, FEW = (1, 2, 5, 10, 50), (1, 2, 4)
# In training steps of the flow of 32 images: the teacher, and the students, whose pairs count for the rest of 3,500 (a
# pair takes 20 evaluations of the network, two for each step with guidance).
TEACHER_STEPS, NUM_PAIRS, STUDENT_STEPS = 1750, 6000, 1170
TEACHER = "cifar_flow_half"
MEAN_FLOW_STEPS = 2130  # 1.64 times the cost of the flow's, with guidance as an input (experiments/benchmarks)
TRAINED = (
    "--config.model.dtype=bfloat16",
    "--config.evaluators.samples=None",
    "--config.evaluators.held_out_loss=None",
)
PAIRS = (f"--num_samples={NUM_PAIRS}", "--batch_size=32", "--sampler=unipc", "--num_steps=10")
GUIDED = ("--guidance_scales=2", "--averages=medium")


@dataclasses.dataclass(frozen=True)
class Model:
    """config: of configs/. settings: changes of it. evaluations: that samples are measured with.

    sampling: further flags of its samples. shown: the numbers of evaluations in the picture.
    """

    config: str
    evaluations: tuple[int, ...]
    settings: tuple[str, ...] = ()
    sampling: tuple[str, ...] = ("--averages=medium",)
    on_pairs: bool = False
    shown: tuple[int, ...] = (1,)


def student(density: str) -> tuple[str, ...]:
    """The settings of a model of pairs, whose samples are guided already."""
    steps = f"--config.train.num_steps={STUDENT_STEPS}"
    never = ("--config.conditions.label.drop=0.0", "--config.sampler.guidance=none", "--config.data.augment=none")
    return steps, f"--config.loss.time_density.name={density}", *never


MODELS = {
    "cifar_small": Model("cifar_small", MANY, sampling=GUIDED, shown=()),
    "cifar_flow": Model("cifar_flow", MANY, sampling=GUIDED, shown=(50, 1)),
    "cifar_2_rectified": Model("cifar_flow", FEW, student("uniform"), on_pairs=True, shown=(4, 1)),
    "cifar_distilled": Model("cifar_flow", (1,), student("fixed"), on_pairs=True),
    "cifar_meanflow": Model("cifar_meanflow", FEW, (f"--config.train.num_steps={MEAN_FLOW_STEPS}",)),
}


def main() -> None:
    parser = common.make_parser(__doc__)
    parser.add_argument("--photographs", type=pathlib.Path, required=True, help="a folder with train/CLASS, test/CLASS")
    args = parser.parse_args()
    found, costs = dict[str, dict[str, dict[str, Any]]](), dict[str, Any]()
    for name, model in MODELS.items():
        costs[name] = train(args.runs, name, photographs.flags(args.photographs))
        # Models of pairs are compared with the photographs too, not with pairs.
        of = ("--runs", str(args.runs / name)) if model.on_pairs else ()
        reference = args.runs / (TEACHER if model.on_pairs else name)
        for row in photographs.evaluated(reference, NUM_SAMPLES, model.evaluations, *model.sampling, *of):
            values = found.setdefault(name, {}).setdefault(str(row["num_evaluations"]), {})
            values[row["metric"]] = (row["value"], row["standard_error"])
    print(digit_quality.table(found, "model"))
    print(json.dumps(costs, indent=1))
    if not args.no_write:
        common.write(HERE / "photographs.json", {"results": found, "cpu_seconds": costs})
        shown = {name: panel for name, panel in digit_quality.distances(found).items() if "ratio" not in name}
        plots.lines(HERE / "photographs.png", shown, xlabel="evaluations of the network", log="xy")
        draw_samples(args.runs)


def train(directory: pathlib.Path, name: str, data: tuple[str, ...]) -> dict[str, float | None]:
    """Trains a model, its teacher and pairs first, unless they are there; returns the CPU seconds of each."""
    model, workdir, before = MODELS[name], directory / name, dict[str, float | None]()
    options = (*TRAINED, *data, *model.settings)
    if model.on_pairs:
        teacher = directory / TEACHER
        steps = f"--config.train.num_steps={TEACHER_STEPS}"
        before = {"teacher": cost(model.config, teacher, *TRAINED, *data, steps)}
        before["pairs"] = pairs.make(teacher, *PAIRS)
        options = (*TRAINED, "--init_from", str(teacher), *pairs.flags(teacher), *model.settings)
    return {**before, "own": cost(model.config, workdir, *options)}


def cost(config: str, workdir: pathlib.Path, *options: str) -> float | None:
    """The CPU seconds of training, which is done first where there is no checkpoint; None if it was not measured."""
    common.train_if_missing(config, workdir, *options)
    path = workdir / "cost.json"
    return json.loads(path.read_text())["cpu_seconds"] if path.exists() else None


def draw_samples(directory: pathlib.Path) -> None:
    """Writes photographs_samples.png: ten samples of each model that is shown, a class in each column, one noise."""
    cases = [(name, number) for name, model in MODELS.items() for number in model.shown]
    rows = [runs.open(directory / name).with_sampler(num_steps=number).draw(10, seed=0) for name, number in cases]
    images.save_png(HERE / "photographs_samples.png", images.grid(np.concatenate(rows), 10), scale=2)
    print("rows of photographs_samples.png:", "; ".join(f"{name}, {number}" for name, number in cases))


if __name__ == "__main__":
    devices.configure()
    main()
