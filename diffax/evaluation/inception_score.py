"""The Inception score: how certain a classifier is of each generated sample, and how varied over all of them."""

import numpy as np
from jaxtyping import Float

from diffax.evaluation import _checks, uncertainty


def score(
    probabilities: Float[np.ndarray, "n classes"], *, num_splits: int = 10, seed: int | None = None
) -> uncertainty.Estimate:
    """The Inception score exp(mean KL(p(y|x) || p(y))) of class probabilities, a mean over splits.

    arXiv:1606.03498, section 4. p(y) is the mean over the samples of a split. From 1 to the number of classes; more is
    better. The standard error is the standard deviation over splits divided by sqrt(num_splits), NaN for one split.
    The score depends on the number of samples in a split: the paper has 5,000.

    Args:
      probabilities: of the classes given each generated sample; rows are not negative and sum to 1.
      num_splits: the number of equal splits.
      seed: of the order in which samples are put into splits; None keeps their order.

    Raises:
      ValueError: fewer samples than splits, or rows that are no probabilities.
    """
    probabilities = _checks.features(probabilities, name="class probabilities")
    _checks.at_least("num_splits", num_splits, 1)
    n = len(probabilities)
    if n < num_splits:
        raise ValueError(f"{num_splits} splits need at least as many samples, got {n}")
    probabilities = probabilities.astype(np.float64)
    sums = probabilities.sum(axis=1)
    if (probabilities < 0).any() or (np.abs(sums - 1) > 1e-3).any():
        raise ValueError(
            "class probabilities must be >= 0 and sum to 1 for each sample, got a smallest value of "
            f"{probabilities.min():.4g} and sums from {sums.min():.4g} to {sums.max():.4g}: apply a softmax to logits"
        )
    if seed is not None:
        probabilities = probabilities[np.random.default_rng(seed).permutation(n)]
    scores = [_score(probabilities[i * n // num_splits : (i + 1) * n // num_splits]) for i in range(num_splits)]
    return uncertainty.Estimate(scores[0], float("nan")) if num_splits == 1 else uncertainty.of_repeats(scores)


def _score(probabilities: np.ndarray) -> float:
    marginal = probabilities.mean(axis=0)
    # A class of probability 0 adds nothing: 0 log 0 = 0. Where one is positive, so is the marginal.
    positive = probabilities > 0
    log_ratio = np.log(np.divide(probabilities, marginal, out=np.ones_like(probabilities), where=positive))
    return float(np.exp((probabilities * log_ratio).sum(axis=1).mean()))
