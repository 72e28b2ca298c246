"""Two-dimensional toy distributions, standardised to mean 0 and variance 1 along both axes.

The moments are those of the distribution, not of a sample, so that training and held-out points are transformed alike.
The distributions are those of FFJORD (arXiv:1810.01367) and scikit-learn.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from diffax.data import dataset

Points = Float[np.ndarray, "n 2"]


def swiss_roll(rng: np.random.Generator, num_points: int) -> Points:
    """Swiss roll: t (cos t, sin t) for t uniform in [1.5 pi, 4.5 pi], plus Gaussian noise of standard deviation 0.5."""
    t = rng.uniform(1.5 * np.pi, 4.5 * np.pi, num_points)
    return np.stack([t * np.cos(t), t * np.sin(t)], axis=1) + 0.5 * rng.standard_normal((num_points, 2))


def two_moons(rng: np.random.Generator, num_points: int) -> Points:
    """Two moons: interlocking half circles of radius 1, plus Gaussian noise of standard deviation 0.1."""
    angle = rng.uniform(0, np.pi, num_points)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.array([1.0, 0.5]) - upper
    is_upper = rng.integers(0, 2, (num_points, 1)) == 1
    return np.where(is_upper, upper, lower) + 0.1 * rng.standard_normal((num_points, 2))


def eight_gaussians(rng: np.random.Generator, num_points: int) -> Points:
    """A mixture of eight Gaussians of standard deviation 0.1, with means evenly spaced on the unit circle."""
    angle = rng.integers(0, 8, num_points) * (np.pi / 4)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.1 * rng.standard_normal((num_points, 2))


def checkerboard(rng: np.random.Generator, num_points: int) -> Points:
    """Checkerboard: uniform on every other unit square of [-2, 2] x [-2, 2]."""
    column = rng.integers(-2, 2, num_points)
    row = 2 * rng.integers(-1, 1, num_points) + column % 2
    return np.stack([column, row], axis=1) + rng.uniform(0, 1, (num_points, 2))


def pinwheel(rng: np.random.Generator, num_points: int) -> Points:
    """Pinwheel: five arms, each a Gaussian around (1, 0) with standard deviations 0.3 along and 0.1 across the arm.

    A point at distance r along its arm is turned by 0.25 exp(r).
    """
    along = 1 + 0.3 * rng.standard_normal(num_points)
    across = 0.1 * rng.standard_normal(num_points)
    angle = rng.integers(0, 5, num_points) * (2 * np.pi / 5) + 0.25 * np.exp(along)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * along - sin * across, sin * along + cos * across], axis=1)


class Distribution(NamedTuple):
    """A sampler of raw points, and the mean and variance of each coordinate."""

    sample: Callable[[np.random.Generator, int], Points]
    mean: tuple[float, float]
    variance: tuple[float, float]


DISTRIBUTIONS = {
    # The integrals over t in closed form, then rounded; 0.25 is the noise.
    "swiss_roll": Distribution(swiss_roll, (2.0, 0.2122066), (43.864321 + 0.25, 48.319290 + 0.25)),
    # A half circle has vertical mean 2/pi and variance 1/2 - 4/pi^2; 0.3866198 is 2/pi - 1/4, half the means' distance.
    "two_moons": Distribution(two_moons, (0.5, 0.25), (0.75 + 0.01, 0.0947153 + 0.3866198**2 + 0.01)),
    "eight_gaussians": Distribution(eight_gaussians, (0.0, 0.0), (0.51, 0.51)),
    "checkerboard": Distribution(checkerboard, (0.0, 0.0), (4 / 3, 4 / 3)),
    # Five-fold symmetry: each coordinate has half the mean squared radius, 1 + 0.09 + 0.01.
    "pinwheel": Distribution(pinwheel, (0.0, 0.0), (0.55, 0.55)),
}
SPLITS = ("train", "test")
_STREAM = 1


def load(name: str, split: str = "train", *, num_points: int = 20_000, seed: int = 0) -> dataset.Dataset:
    """Draws `num_points` standardised points (num_points, 2) of a toy distribution, without labels.

    The splits 'train' and 'test' are independent draws. Every point is a function of (name, split, num_points, seed).

    Args:
        name: a key of DISTRIBUTIONS.

    Raises:
        ValueError: an unknown name or split, num_points < 1, or a negative seed.
    """
    if name not in DISTRIBUTIONS:
        raise ValueError(f"unknown toy distribution {name!r}, expected one of: {', '.join(DISTRIBUTIONS)}")
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r} of {name}, expected one of: {', '.join(SPLITS)}")
    if num_points < 1 or seed < 0:
        raise ValueError(f"{name} needs num_points >= 1 and seed >= 0, got {num_points} and {seed}")
    distribution = DISTRIBUTIONS[name]
    # The stream must not be one of data.order: points drawn with the numbers that shuffle them are visited in order.
    rng = np.random.default_rng(np.random.SeedSequence((seed, _STREAM), spawn_key=(SPLITS.index(split),)))
    points = distribution.sample(rng, num_points)
    return dataset.Dataset(name=f"{name}/{split}", examples=_standardise(points, distribution)).validate()


def _standardise(points: Points, distribution: Distribution) -> Float32[np.ndarray, "n 2"]:
    centred = points - np.array(distribution.mean)
    return (centred / np.sqrt(distribution.variance)).astype(np.float32)
