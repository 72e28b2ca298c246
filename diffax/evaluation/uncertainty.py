"""Standard errors of metrics, by repeats with other seeds or by the bootstrap."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffax.evaluation import _checks


class Estimate(NamedTuple):
    """A metric's value and its standard error, in the same units."""

    value: float
    standard_error: float


def of_repeats(values: Sequence[float]) -> Estimate:
    """The mean of independent repeats, such as sample sets of different seeds, and its standard error.

    The standard error of the mean of n values is their standard deviation (with n - 1) over sqrt(n).

    Raises:
      ValueError: fewer than 2 values, or values that are not finite.
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise ValueError(f"a standard error needs at least 2 repeats, got values of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"the values of repeats must be finite, got {array.tolist()}")
    return Estimate(float(array.mean()), float(array.std(ddof=1) / np.sqrt(len(array))))


def bootstrap(
    metric: Callable[..., float],
    generated: Float[np.ndarray, "n dim"],
    *others: np.ndarray,
    seed: int,
    num_resamples: int = 50,
) -> Estimate:
    """A metric of the generated samples and its standard error by the bootstrap over them.

    The value is metric(generated, *others). The standard error is the standard deviation of the metric over resamples
    of the generated set: as many samples, drawn with replacement (Efron, 1979). The other sets stay as they are, so
    that the error is for this reference set. Resamples hold duplicates: for metrics of nearest neighbours within the
    generated set (recall, memorisation of a set compared with itself) use `of_repeats` with other sample sets instead.

    Args:
      metric: a function (generated, *others) -> float.
      seed: of the resamples.

    Raises:
      ValueError: fewer than 2 samples or resamples, or features that are not finite.
    """
    _checks.at_least("num_resamples", num_resamples, 2)
    generated = _checks.features(generated, name="generated features", least=2)
    rng = np.random.default_rng(seed)
    resampled = [
        metric(generated[rng.integers(0, len(generated), len(generated))], *others) for _ in range(num_resamples)
    ]
    return Estimate(float(metric(generated, *others)), float(np.std(resampled, ddof=1)))
