"""Quality of digits in few steps, at equal cost of training: python -m experiments.few_steps

Trains the methods of methods.py with three seeds where runs/few_steps-1400 does not have them yet, measures 2,000
digits of each by the number of evaluations, and writes results.json, quality.png and samples.png. What is there is not
trained or measured again: a run directory keeps its cost in cost.json and its measurements in measured.json.
"""

import json
import pathlib

import matplotlib
import numpy as np

from diffax import config_file, devices, runs
from diffax.evaluation import measurement
from diffax.evaluation.uncertainty import Estimate
from diffax.reporting import formats, images, plots, tables
from experiments import common, digit_quality
from experiments.few_steps import methods, pairs

HERE = pathlib.Path(__file__).parent
# FD-loss and drifting are trained on pixels, of which wavelets are a linear function; nothing is on the classifier.
NAMES = digit_quality.METRICS | {"pixels": ("frechet", "frechet_wavelet")}
Pair = tuple[float, float | None]  # a mean over seeds and its standard error
Cost = dict[str, float]


def main() -> None:
    parser = common.make_parser(__doc__)
    names = [name for name, method in methods.METHODS.items() if method.evaluations]
    parser.add_argument("--only", choices=names, nargs="*", help="these methods, and what they start from")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of training (default 0 1 2)")
    args = parser.parse_args()
    devices.enable_compilation_cache()
    judge, found = digit_quality.Judge(NAMES), dict[str, dict[str, dict[str, list[Estimate]]]]()
    costs, trained_on = dict[str, list[Cost]](), dict[str, tuple[str, ...]]()
    for seed in args.seeds:
        for name in args.only or names:
            costs.setdefault(name, []).append(train(args.runs, name, seed))
            workdir = methods.folder(args.runs, name, seed)
            samplers = {number: {"num_steps": number} for number in methods.METHODS[name].evaluations}
            trained = runs.open(workdir)
            trained_on[name] = trained.trained_on
            curve = judge.curve(trained, samplers, workdir / "measured.json", seed)
            for evaluations, measured in curve.items():
                values = found.setdefault(name, {}).setdefault(evaluations, {})
                for metric, estimate in measured.items():
                    values.setdefault(metric, []).append(estimate)
    averaged = {name: {number: over_seeds(values) for number, values in rows.items()} for name, rows in found.items()}
    print(digit_quality.table(averaged, "method", trained_on) + "\n\n" + cost_table(costs), flush=True)
    if not args.no_write and not args.only:
        shown = digit_quality.distances(averaged)
        plots.lines(HERE / "quality.png", shown, xlabel="evaluations of the network", log="xy")
        draw_samples(args.runs, args.seeds[0])
        settings = {"num_pairs": methods.NUM_PAIRS, "evaluations_of_a_pair": methods.PAIR_EVALUATIONS}
        common.write(
            HERE / "results.json", settings | {"seeds": args.seeds, "results": averaged, "cpu_seconds": means(costs)}
        )


def train(runs_dir: pathlib.Path, name: str, seed: int) -> Cost:
    """Trains a method, what it starts from and the pairs first, unless they are there; returns the CPU seconds."""
    method, workdir = methods.METHODS[name], methods.folder(runs_dir, name, seed)
    options = [f"--config.seed={seed}", f"--config.train.num_steps={method.num_steps}", *method.settings]
    options.append(f"--config.train.checkpoint_every={method.num_steps}")
    evaluators = config_file.load(f"configs/{method.config}.py").evaluators
    options += [f"--config.evaluators.{evaluator}=None" for evaluator in evaluators]
    before: Cost = {}
    if method.teacher is not None:
        teacher = methods.folder(runs_dir, method.teacher, seed)
        before = {"teacher": train(runs_dir, method.teacher, seed)["total"]}
        options += ["--init_from", str(teacher)]
        if method.pairs:
            before["pairs"] = pairs.make(
                teacher, f"--num_samples={methods.NUM_PAIRS}", "--batch_size=500", *methods.PAIR_SAMPLER
            )
            options += pairs.flags(teacher)
    if not (workdir / "cost.json").exists():
        common.train(method.config, workdir, *options)
    own = json.loads((workdir / "cost.json").read_text())["cpu_seconds"]
    return {**before, "own": own, "total": sum(before.values()) + own}


def over_seeds(values: dict[str, list[Estimate]]) -> dict[str, Pair]:
    """{metric: mean and standard error}."""
    return {metric: measurement.over_seeds(dict(enumerate(estimates))) for metric, estimates in values.items()}


def means(costs: dict[str, list[Cost]]) -> dict[str, Cost]:
    """CPU seconds of each stage, averaged over seeds."""
    return {
        name: {stage: round(float(np.mean([cost[stage] for cost in of_seeds])), 1) for stage in of_seeds[0]}
        for name, of_seeds in costs.items()
    }


def cost_table(costs: dict[str, list[Cost]]) -> str:
    """What each method took: its steps, the cost of one in steps of the flow, and CPU seconds, in Markdown."""
    rows = []
    for name, cost in means(costs).items():
        method = methods.METHODS[name]
        seconds = [formats.number(cost.get(stage)) for stage in ("teacher", "pairs", "own", "total")]
        rows.append([name, formats.number(method.num_steps), formats.number(method.cost), *seconds])
    stages = [f"CPU seconds, {stage}" for stage in ("teacher", "pairs", "own", "total")]
    return tables.markdown(["method", "own steps", "cost of one", *stages], rows)


def draw_samples(runs_dir: pathlib.Path, seed: int) -> None:
    """Writes samples.png: eight digits of each method and number of evaluations, from the same noise."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = {name: method for name, method in methods.METHODS.items() if method.evaluations}
    numbers = sorted({number for method in shown.values() for number in method.evaluations})
    figure, panels = pyplot.subplots(len(shown), len(numbers), figsize=(2.6 * len(numbers), 1.5 * len(shown)))
    for row, (name, method) in zip(panels, shown.items(), strict=True):
        trained = runs.open(methods.folder(runs_dir, name, seed))
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axes, number in zip(row, numbers, strict=True):
            axes.set(xticks=[], yticks=[], frame_on=False)
            if name == next(iter(shown)):
                axes.set_title(f"{number} evaluation{'s' if number > 1 else ''}")
            if number in method.evaluations:
                drawn = trained.with_sampler(num_steps=number).draw(8, seed=0)
                axes.imshow(images.grid(drawn, num_columns=4)[..., 0], cmap="gray", vmin=0, vmax=255)
    figure.tight_layout()
    figure.savefig(HERE / "samples.png", dpi=80)
    pyplot.close(figure)


if __name__ == "__main__":
    devices.configure()
    main()
