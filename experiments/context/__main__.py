"""Do prompts steer digits? Agreement of samples with their prompts: python -m experiments.context

Trains experiments/context/config.py under sentence vectors, under token sequences, and under one-hot attributes, where
`runs/` does not have them yet. Samples of every digit with every combination of attributes are drawn by prompts in
held-out wordings, and each attribute of the samples is measured from their pixels. Writes results.json, guidance.png,
grid.png and interpolation.png. With --mnist DIR, the four official files, it measures experiments/context/mnist.py
instead, and writes mnist.json and mnist.png.
"""

import argparse
import pathlib
import subprocess
import sys
from typing import Any

import jax
import numpy as np

from diffax import conditions, data, devices, runs
from diffax.reporting import images, plots, tables
from diffax.runs import asked
from experiments import common
from experiments.context import captions
from experiments.context.ruler import Ruler, diversity

HERE = pathlib.Path(__file__).parent
MODELS = {
    "vector": (),
    "tokens": ("--config.conditions.text.form=tokens",),
    "attributes": ("--config.conditions.text=None", "--config.conditions.attributes=vector"),
}
SCALES = (1.0, 1.5, 2.0, 3.0, 4.0)
EVALUATIONS, PER_PROMPT, BATCH_SIZE = 20, 10, 80
SHOWN = (
    "somebody wrote a seven, tilting right, with paper-thin lines, tiny",
    "somebody wrote a seven, tilting left, with boldface lines, giant",
    "I would like to see the number zero, huge, please, and feathery",
    "tilted to the left: the number four, short, in extra-bold strokes",
)
BETWEEN = ("a thin small one leaning left", "a bold large eight leaning right")
COMPOSED = ("a three", "a bold digit leaning to the left")


def conditions_of(trained: runs.Trained, digits: np.ndarray, sides: np.ndarray, *, held_out: bool, seed: int) -> dict:
    """The conditions that ask for these digits with these attributes: numbers, or sentences of one kind of wording."""
    if "attributes" in trained.network.conditions:
        return {"attributes": captions.one_hot(digits, sides)}
    rng = np.random.default_rng(seed)
    pairs = zip(digits.tolist(), sides.tolist(), strict=True)
    return {"text": trained.encode([captions.wording(digit, side, rng, held_out=held_out) for digit, side in pairs])}


def measure(trained: runs.Trained, ruler: Ruler, scale: float, *, held_out: bool = True, seed: int = 0) -> dict:
    """Agreement and diversity over every prompt, PER_PROMPT samples each, of one sentence a prompt."""
    prompts = captions.every_prompt()
    digits, sides = np.array([digit for digit, _ in prompts]), np.array([side for _, side in prompts])
    values = asked.checked(trained.model, conditions_of(trained, digits, sides, held_out=held_out, seed=seed))
    guided = trained.with_sampler(num_steps=EVALUATIONS, guidance_scale=scale)
    drawn = guided.draw(PER_PROMPT * len(prompts), wanted=asked.Asked(values), batch_size=BATCH_SIZE, seed=seed)
    found = ruler.agreement(drawn, np.tile(digits, PER_PROMPT), np.tile(sides, (PER_PROMPT, 1)))
    return found | {"diversity": diversity(drawn.reshape(PER_PROMPT, len(prompts), -1).swapaxes(0, 1))}


def real_diversity() -> float:
    """That of real digits of the same class, which differ in their attributes too."""
    everything = data.digits.load("all")
    x = everything.to_network_range(everything.examples)
    return float(np.mean([diversity(x[np.asarray(everything.labels) == digit][None, :100]) for digit in range(10)]))


def composed(trained: runs.Trained, ruler: Ruler) -> dict[str, float]:
    """Agreement with two prompts at once: a digit from one, stroke and slant from the other."""
    values = trained.encode(COMPOSED)
    rows = [{"text": _row(values, i)} for i in (0, 1)]
    wanted = asked.Asked(rows[0], others=((rows[1], 2.0),))
    drawn = trained.with_sampler(num_steps=EVALUATIONS, guidance_scale=2.0).draw(200, wanted=wanted)
    found = ruler.agreement(drawn, np.full(200, 3), np.tile([1, -1, 1], (200, 1)))
    return {name: found[name] for name in ("digit", "stroke", "slant")}


def prompts_picture(trained: runs.Trained, path: pathlib.Path) -> None:
    """A column for each of SHOWN, rows of equal noise."""
    wanted = asked.Asked({"text": trained.encode(SHOWN)}, same_noise=True)
    drawn = trained.with_sampler(num_steps=50, guidance_scale=2.0).draw(6 * len(SHOWN), wanted=wanted)
    images.save_png(path, images.picture(drawn, num_columns=len(SHOWN)))


def interpolation_picture(trained: runs.Trained, path: pathlib.Path) -> None:
    """Rows of equal noise between two sentences."""
    ends = trained.encode(BETWEEN)
    line = conditions.interpolated(_row(ends, 0), _row(ends, 1), 11)
    wanted = asked.Asked({"text": line}, same_noise=True)
    drawn = trained.with_sampler(num_steps=50, guidance_scale=2.0).draw(33, wanted=wanted)
    images.save_png(path, images.picture(drawn, num_columns=11))


def _row(values: Any, row: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[row : row + 1], values)


def main() -> None:
    parser = common.make_parser(__doc__)
    parser.add_argument("--mnist", metavar="DIR", help="measure MNIST instead, from its four official files")
    args = parser.parse_args()
    if args.mnist is None:
        study_digits(args)
    else:
        study_mnist(args)


def study_digits(args: argparse.Namespace) -> None:
    """Three models of the digits, over guidance scales."""
    ruler, found, costs = Ruler.of_digits(), {}, {}
    for name, flags in MODELS.items():
        workdir = args.runs / f"context_{name}"
        costs[name] = train_if_missing(workdir, "config", flags)
        found[name] = agreement_by_guidance(name, runs.open(workdir), ruler)
    vector = runs.open(args.runs / "context_vector")
    two = composed(vector, ruler)
    print("composed", two, flush=True)
    if args.no_write:
        return
    prompts_picture(runs.open(args.runs / "context_tokens"), HERE / "grid.png")
    interpolation_picture(vector, HERE / "interpolation.png")
    names = ("digit", *captions.ATTRIBUTES, "diversity")
    panels = {
        what: {name: (list(SCALES), [found[name][f"guidance {scale:g}"][what] for scale in SCALES]) for name in MODELS}
        for what in names
    }
    plots.lines(HERE / "guidance.png", panels, xlabel="guidance scale")
    results = {
        "agreement": found,
        "composed of two prompts": two,
        "diversity of real digits of one class": real_diversity(),
    }
    common.write(HERE / "results.json", results | _setting(ruler, costs))


def study_mnist(args: argparse.Namespace) -> None:
    """One model of MNIST, under sentence vectors."""
    workdir, ruler = args.runs / "context_mnist", Ruler.of_mnist(args.mnist)
    cost = train_if_missing(workdir, "mnist", (f"--config.data.path={args.mnist}",))
    trained = runs.open(workdir)
    found = agreement_by_guidance("mnist", trained, ruler)
    if not args.no_write:
        prompts_picture(trained, HERE / "mnist.png")
        common.write(HERE / "mnist.json", {"agreement": found} | _setting(ruler, {"mnist": cost}))


def agreement_by_guidance(name: str, trained: runs.Trained, ruler: Ruler) -> dict[str, dict[str, float]]:
    """Agreement in held-out wordings over SCALES, and once in the wordings of training; prints the table."""
    found = {f"guidance {scale:g}": measure(trained, ruler, scale) for scale in SCALES}
    found["guidance 2, wordings of training"] = measure(trained, ruler, 2.0, held_out=False)
    rows = [[setting, *(f"{value:.3f}" for value in row.values())] for setting, row in found.items()]
    print(name, tables.markdown(["setting", *next(iter(found.values()))], rows), sep="\n", flush=True)
    return found


def _setting(ruler: Ruler, costs: dict[str, str]) -> dict[str, Any]:
    return {
        "chance": {"digit": 0.1, **dict.fromkeys(captions.ATTRIBUTES, 0.5)},
        "accuracy of the classifier on held-out digits": round(ruler.accuracy, 4),
        "training": costs,
    }


def train_if_missing(workdir: pathlib.Path, config: str, flags: tuple[str, ...]) -> str:
    """Trains one model; says whether it was there before."""
    if (workdir / "checkpoints").exists():
        return "before"
    command = [sys.executable, "launch.py", "--config", f"experiments/context/{config}.py", "--workdir", str(workdir)]
    subprocess.run([*command, *flags], check=True)
    return "now"


if __name__ == "__main__":
    devices.configure()
    main()
