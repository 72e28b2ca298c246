"""Do prompts steer digits? Agreement of samples with their prompts: python -m experiments.context

Trains experiments/context/config.py told sentence vectors, told token sequences, and told one-hot attributes, where
`runs/` does not have them yet. Every digit with every combination of attributes is asked for in held-out wordings, and
each attribute of the samples is measured from their pixels. Writes results.json, guidance.png, grid.png and
interpolation.png.
"""

import argparse
import pathlib
import subprocess
import sys
from typing import Any

import jax
import numpy as np
from sklearn import svm

from diffax import conditions, data, devices, runs
from diffax.reporting import images, plots, tables
from diffax.runs import asked
from experiments import common
from experiments.context import captions

HERE = pathlib.Path(__file__).parent
MODELS = {
    "vector": (),
    "tokens": ("--config.conditions.text.form=tokens",),
    "attributes": ("--config.conditions.text=None", "--config.conditions.attributes=vector"),
}
SCALES = (1.0, 1.5, 2.0, 3.0, 4.0)
EVALUATIONS, PER_PROMPT = 20, 10
SHOWN = (
    "somebody wrote a seven, tilting right, with paper-thin lines, tiny",
    "somebody wrote a seven, tilting left, with boldface lines, giant",
    "I would like to see the number zero, huge, please, and feathery",
    "tilted to the left: the number four, short, in extra-bold strokes",
)
BETWEEN = ("a thin small one leaning left", "a bold large eight leaning right")
COMPOSED = ("a three", "a bold digit leaning to the left")


class Ruler:
    """Measures whether digits are what was asked for."""

    def __init__(self) -> None:
        train, everything = data.digits.load("train"), data.digits.load("all")
        self.scale = captions.Scale.of(train.examples, np.asarray(train.labels))
        x = everything.examples.reshape(len(everything), -1)
        self._classifier = svm.SVC(gamma="scale", C=10.0).fit(x[:1500] / 8 - 1, np.asarray(everything.labels)[:1500])
        self.held_out_accuracy = self._classifier.score(x[1500:] / 8 - 1, np.asarray(everything.labels)[1500:])

    def digits(self, samples: np.ndarray) -> np.ndarray:
        """What the digits are read as."""
        return self._classifier.predict(samples.reshape(len(samples), -1))

    def agreement(self, samples: np.ndarray, digits: np.ndarray, sides: np.ndarray) -> dict[str, float]:
        """The share of samples (n, 8, 8, 1) in [-1, 1] that have the digit, and each attribute's side of the median."""
        ink = np.round((np.clip(samples, -1, 1) + 1) * 8)
        right = self.scale.sides(ink, digits) == sides
        by_attribute = {name: float(right[:, i].mean()) for i, name in enumerate(captions.ATTRIBUTES)}
        return {"digit": float((self.digits(samples) == digits).mean()), **by_attribute}


def diversity(samples: np.ndarray) -> float:
    """The mean distance of two samples of the same prompt, (prompts, n, ...)."""
    flat = samples.reshape(*samples.shape[:2], -1)
    distances = np.linalg.norm(flat[:, :, None] - flat[:, None], axis=-1)
    n = flat.shape[1]
    return float(distances.sum((1, 2)).mean() / (n * (n - 1)))


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
    drawn = guided.draw(PER_PROMPT * len(prompts), wanted=asked.Asked(values), batch_size=400, seed=seed)
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


def pictures(told_vectors: runs.Trained, told_tokens: runs.Trained) -> None:
    """grid.png: a column for each of SHOWN, rows of equal noise. interpolation.png: rows between two sentences."""
    wanted = asked.Asked({"text": told_tokens.encode(SHOWN)}, same_noise=True)
    guided = told_tokens.with_sampler(num_steps=50, guidance_scale=2.0)
    drawn = guided.draw(6 * len(SHOWN), wanted=wanted)
    images.save_png(HERE / "grid.png", images.picture(drawn, num_columns=len(SHOWN)))
    guided, ends = told_vectors.with_sampler(num_steps=50, guidance_scale=2.0), told_vectors.encode(BETWEEN)
    line = conditions.interpolated(_row(ends, 0), _row(ends, 1), 11)
    drawn = guided.draw(33, wanted=asked.Asked({"text": line}, same_noise=True))
    images.save_png(HERE / "interpolation.png", images.picture(drawn, num_columns=11))


def _row(values: Any, row: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[row : row + 1], values)


def main() -> None:
    args = common.parse_args(__doc__)
    ruler, found, costs = Ruler(), {}, {}
    for name, flags in MODELS.items():
        workdir = args.runs / f"context_{name}"
        costs[name] = train_if_missing(workdir, flags, args)
        trained = runs.open(workdir)
        found[name] = {f"guidance {scale:g}": measure(trained, ruler, scale) for scale in SCALES}
        found[name]["guidance 2, wordings of training"] = measure(trained, ruler, 2.0, held_out=False)
        rows = [[setting, *(f"{value:.3f}" for value in row.values())] for setting, row in found[name].items()]
        print(name, tables.markdown(["setting", *next(iter(found[name].values()))], rows), sep="\n", flush=True)
    vector = runs.open(args.runs / "context_vector")
    two = composed(vector, ruler)
    print("composed", two, flush=True)
    if args.no_write:
        return
    pictures(vector, runs.open(args.runs / "context_tokens"))
    names = ("digit", *captions.ATTRIBUTES, "diversity")
    panels = {
        what: {name: (list(SCALES), [found[name][f"guidance {scale:g}"][what] for scale in SCALES]) for name in MODELS}
        for what in names
    }
    plots.lines(HERE / "guidance.png", panels, xlabel="guidance scale")
    results = {
        "agreement": found,
        "composed of two prompts": two,
        "chance": {"digit": 0.1, **dict.fromkeys(captions.ATTRIBUTES, 0.5)},
        "accuracy of the classifier on held-out digits": round(ruler.held_out_accuracy, 4),
        "diversity of real digits of one class": real_diversity(),
        "training": costs,
    }
    common.write(HERE / "results.json", results)


def train_if_missing(workdir: pathlib.Path, flags: tuple[str, ...], args: argparse.Namespace) -> str:
    """Trains one model; says whether it was there before."""
    if (workdir / "checkpoints").exists():
        return "before"
    command = [sys.executable, "launch.py", "--config", "experiments/context/config.py", "--workdir", str(workdir)]
    subprocess.run([*command, *flags], check=True)
    return "now"


if __name__ == "__main__":
    devices.configure()
    main()
