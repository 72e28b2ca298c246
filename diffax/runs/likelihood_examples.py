"""Whose likelihoods are measured: random examples of the data, and examples made out of distribution."""

from collections.abc import Callable

import numpy as np

from diffax.data.examples import Examples

# Examples that are not of the data, to be told from them: see `change`.
OTHERS = ("noise", "shifted")


def random_rows(num_examples: int, most: int, seed: int = 0) -> np.ndarray:
    """The numbers of at most `most` random examples of num_examples, in order: all where there are not more."""
    return np.sort(np.random.default_rng(seed).permutation(num_examples)[:most])


def change(name: str, examples: Examples, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """What makes examples out of distribution, from examples (rows, *shape).

    noise: every number uniform, over the levels of images or the range of 10,000 points. shifted: images moved by half
    their height and width, what leaves on one side entering on the other: the same pixels in other shapes.

    Raises:
      ValueError: shifted points, or an unknown name.
    """
    if name == "shifted" and examples.num_levels is not None:
        return lambda x: np.roll(x, (x.shape[1] // 2, x.shape[2] // 2), axis=(1, 2))
    if name != "noise":
        raise ValueError(f"--against {name} is for images, and {examples.name} has points")
    rng = np.random.default_rng(seed)
    if examples.num_levels is not None:
        num_levels = examples.num_levels
        return lambda x: rng.integers(0, num_levels, x.shape, np.uint8)
    points = examples.batch(np.arange(min(len(examples), 10_000)))["x"]
    low, high = points.min(0), points.max(0)
    return lambda x: rng.uniform(low, high, x.shape).astype(np.float32)
