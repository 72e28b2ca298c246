"""Out-of-distribution detection: how well a score tells two sets of examples apart."""

import numpy as np
from jaxtyping import Float


def auroc(scores: Float[np.ndarray, " n"], of_others: Float[np.ndarray, " m"]) -> float:
    """The area under the receiver operating characteristic (AUROC) of a score that is higher for the others.

    The probability that a random other example scores higher than a random one of the first, with ties for half: 1
    tells them apart without error, 1/2 not at all (Hanley and McNeil 1982). It is the statistic of Mann and Whitney's
    test, divided by n m.

    Raises:
      ValueError: no scores, or some that are not finite.
    """
    scores, of_others = np.asarray(scores, np.float64), np.asarray(of_others, np.float64)
    if not len(scores) or not len(of_others) or not (np.isfinite(scores).all() and np.isfinite(of_others).all()):
        raise ValueError("AUROC needs finite scores of at least one example on both sides")
    ordered = np.sort(scores)
    below, not_above = (np.searchsorted(ordered, of_others, side=side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(scores)))
