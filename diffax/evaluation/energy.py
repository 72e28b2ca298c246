"""The energy distance between two sets of points: a distance of distributions with no parameter to choose."""

import numpy as np
from jaxtyping import Float

from diffax.evaluation import _checks, _pairwise


def distance(
    generated: Float[np.ndarray, "n dim"], reference: Float[np.ndarray, "m dim"], *, unbiased: bool = True
) -> float:
    """The energy distance D^2 = 2 E|X - Y| - E|X - X'| - E|Y - Y'|, in the units of the features.

    Szekely and Rizzo (2013), eq. 5. X, X' are drawn from the generated, Y, Y' from the reference distribution. D^2 is 0
    for equal distributions only. Block by block.

    Args:
      unbiased: leaves out pairs of a sample with itself (U-statistic). The expectation does not depend on the number
        of samples, and the value may be slightly negative. False keeps them (V-statistic): never negative but for
        rounding, and biased upwards as 1 / n.

    Raises:
      ValueError: fewer than 2 samples in a set, or 1 for a V-statistic, different dimensions, or features that are not
        finite.
    """
    generated, reference = _checks.pair(generated, reference, least=2 if unbiased else 1)
    within = _pairwise.mean_distance_within if unbiased else _mean_distance_with_itself
    return 2 * _pairwise.mean_distance(generated, reference) - within(generated) - within(reference)


def _mean_distance_with_itself(features: np.ndarray) -> float:
    return _pairwise.mean_distance(features, features)
