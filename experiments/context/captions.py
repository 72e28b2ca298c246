"""Digits with captions: attributes measured from the image, and sentences that say them in many ways.

    config.data.name = "experiments.context.captions:digits"     column "caption", and "attributes" as numbers
    config.data.name = "experiments.context.captions:mnist"      of the official files in config.data.path

The attributes are the digit, the weight of its stroke (the mean of its pixels), its slant (the shear of its second
moments) and its size (the radius of its second moments), each compared with images of the same digit. Those of the
upper and lower 40% are named; those in between are not.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence

import numpy as np

from diffax import data
from diffax.data import prepare

ATTRIBUTES = ("stroke", "slant", "size")
# Sentences for every image of the digits; MNIST has forty times as many images.
NUM_WORDINGS, NUM_WORDINGS_MNIST = 4, 2
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Words for low and high values, and sentences around them; {digit} and the attributes that are named.
WORDS = {
    "stroke": (
        ("thin", "light", "slim", "delicate", "fine", "faint", "slender", "skinny", "wispy", "hairline", "frail"),
        ("thick", "bold", "heavy", "fat", "strong", "dark", "broad", "chunky", "stout", "solid", "dense"),
    ),
    "slant": (
        ("leaning left", "leaning to the left", "slanted to the left"),
        ("leaning right", "leaning to the right", "slanted to the right"),
    ),
    "size": (("small", "little", "compact"), ("large", "big", "wide")),
}
SENTENCES = (
    "a {stroke} {size} {digit} {slant}",
    "{digit}, {stroke}, {size}, {slant}",
    "the digit {digit}, {size} and {stroke}, {slant}",
    "a handwritten {digit}: {stroke}, {slant}, {size}",
    "a picture of a {size} {digit} that is {stroke}, {slant}",
    "{size} {stroke} {digit} {slant}",
    "a {size} {digit} in {stroke} strokes, {slant}",
    "{digit} written with a {stroke} pen, {size}, {slant}",
    "{slant}, {size} {digit} of {stroke} lines",
    "somebody drew the number {digit} with {stroke} strokes, {size} and {slant}",
    "please draw a {digit}: {size}, {stroke} lines, {slant}",
    "number {digit} {slant}, {stroke} and {size}",
)
# Never seen in training: other words, other sentences and another order.
HELD_OUT_WORDS = {
    "stroke": (("paper-thin", "feathery"), ("extra-bold", "boldface")),
    "slant": (("tilted to the left", "tilting left"), ("tilted to the right", "tilting right")),
    "size": (("tiny", "short"), ("huge", "giant")),
}
HELD_OUT_SENTENCES = (
    "somebody wrote a {digit}, {slant}, with {stroke} lines, {size}",
    "{slant}: the number {digit}, {size}, in {stroke} strokes",
    "I would like to see the number {digit}, {size}, {slant}, please, and {stroke}",
)


def measured(images: np.ndarray) -> np.ndarray:
    """Stroke, slant and size (n, 3) of images (n, height, width[, 1]) of ink on an empty ground, from 0 up."""
    ink = np.asarray(images, np.float64).reshape(len(images), *np.shape(images)[1:3])
    mass = ink.sum((1, 2)) + 1e-9
    y, x = np.mgrid[: ink.shape[1], : ink.shape[2]]
    mean_y, mean_x = ((ink * axis).sum((1, 2)) / mass for axis in (y, x))
    dy, dx = y - mean_y[:, None, None], x - mean_x[:, None, None]
    yy, xx, xy = ((ink * product).sum((1, 2)) / mass for product in (dy * dy, dx * dx, dy * dx))
    return np.stack([ink.mean((1, 2)), -xy / (yy + 1e-9), np.sqrt(yy + xx)], axis=1)


@dataclasses.dataclass(frozen=True)
class Scale:
    """The quantiles 0.4, 0.5 and 0.6 of each attribute for each digit, (3, 10, 3)."""

    quantiles: np.ndarray

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray) -> "Scale":
        """The scale of a data set."""
        values = measured(images)
        return cls(np.stack([np.quantile(values[labels == digit], (0.4, 0.5, 0.6), axis=0) for digit in range(10)], 1))

    def named(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Which attributes are named, (n, 3): -1 for low, 1 for high, 0 in between."""
        values = measured(images)
        return (values > self.quantiles[2, labels]).astype(int) - (values < self.quantiles[0, labels])

    def sides(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """On which side of the median attributes are, (n, 3): -1 or 1."""
        return np.where(measured(images) > self.quantiles[1, labels], 1, -1)


def wording(digit: int, named: Sequence[int], rng: np.random.Generator, *, held_out: bool = False) -> str:
    """A sentence that says the digit and the attributes that are named (-1, 0 for not, 1)."""
    words, sentences = (HELD_OUT_WORDS, HELD_OUT_SENTENCES) if held_out else (WORDS, SENTENCES)
    chosen = {
        name: "" if side == 0 else str(rng.choice(words[name][(side + 1) // 2]))
        for name, side in zip(ATTRIBUTES, named, strict=True)
    }
    sentence = str(rng.choice(sentences)).format(digit=NAMES[digit], **chosen)
    return tidied(sentence)


def tidied(sentence: str) -> str:
    """A sentence without the gaps and commas that words left out leave behind."""
    for _ in range(4):
        for gap, filled in (
            ("  ", " "),
            (" ,", ","),
            (",,", ","),
            (": ,", ":"),
            (" :", ":"),
            ("and, ", ""),
            (", and ,", ","),
            (" that is,", ","),
            ("with lines", ""),
            ("in strokes", ""),
        ):
            sentence = sentence.replace(gap, filled)
        sentence = sentence.strip(" ,:")
        sentence = sentence.removesuffix(" and").removesuffix(" that is")
    return sentence


def captions(labels: np.ndarray, named: np.ndarray, num_wordings: int, seed: int) -> list[tuple[str, ...]]:
    """So many sentences for every image."""
    rng = np.random.default_rng(seed)
    return [
        tuple(wording(int(digit), sides, rng) for _ in range(num_wordings))
        for digit, sides in zip(labels, named, strict=True)
    ]


def captioned(
    examples: data.dataset.Dataset, scale: Scale, seed: int, num_wordings: int = NUM_WORDINGS
) -> data.dataset.Dataset:
    """A data set of digits with the columns caption and attributes."""
    labels = np.asarray(examples.labels)
    named = scale.named(examples.examples, labels)
    columns = {"caption": captions(labels, named, num_wordings, seed), "attributes": one_hot(labels, named)}
    return dataclasses.replace(examples, name=f"captioned {examples.name}", columns=columns)


def one_hot(labels: np.ndarray, named: np.ndarray) -> np.ndarray:
    """The attributes as numbers, float32 (n, 13): the digit one-hot, then -1, 0 or 1 for each attribute."""
    return np.concatenate([np.eye(10)[labels], named], axis=1).astype(np.float32)


def digits(split: str) -> data.dataset.Dataset:
    """The digits of scikit-learn with captions; the scale is that of the training images."""
    train = data.digits.load("train")
    scale = Scale.of(train.examples, np.asarray(train.labels))
    return captioned(data.digits.load(split), scale, seed=0 if split == "train" else 1)


def mnist(split: str, *, path: str = "") -> data.dataset.Dataset:
    """MNIST with captions, from its official files, padded to 32 x 32."""
    train = padded_mnist(path, "train")
    scale = Scale.of(train.examples, np.asarray(train.labels))
    chosen = train if split == "train" else padded_mnist(path, split)
    return captioned(chosen, scale, seed=0 if split == "train" else 1, num_wordings=NUM_WORDINGS_MNIST)


def padded_mnist(path: str, split: str) -> data.dataset.Dataset:
    """MNIST without captions, padded to 32 x 32."""
    return data.dataset.padded(prepare.read_local("mnist", pathlib.Path(path), split), 2)


def every_prompt() -> list[tuple[int, tuple[int, int, int]]]:
    """Every digit with every combination of named attributes."""
    return [(digit, sides) for digit in range(10) for sides in itertools.product((-1, 1), repeat=3)]
