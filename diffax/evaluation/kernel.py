"""The kernel distance (KID on Inception features): squared maximum mean discrepancy (MMD) with a cubic kernel."""

import math

import numpy as np
from jaxtyping import Float

from diffax.evaluation import _checks, uncertainty


def squared_mmd(generated: Float[np.ndarray, "n dim"], reference: Float[np.ndarray, "m dim"]) -> float:
    """The unbiased estimate of MMD^2 with the kernel k(x, y) = (x . y / dim + 1)^3.

    mean_i!=j k(x_i, x_j) + mean_i!=j k(y_i, y_j) - 2 mean_ij k(x_i, y_j), as a U-statistic (arXiv:1801.01401, eq. 4).
    Pairs of a sample with itself are left out. Its expectation is 0 for equal distributions, so that it may be
    negative. Computed in float64, block by block.

    Raises:
      ValueError: fewer than 2 samples in a set, different dimensions, or features that are not finite.
    """
    return _squared_mmd(*_checks.pair(generated, reference, least=2))


def distance(
    generated: Float[np.ndarray, "n dim"],
    reference: Float[np.ndarray, "m dim"],
    *,
    seed: int,
    num_subsets: int = 100,
    subset_size: int = 1000,
) -> uncertainty.Estimate:
    """The kernel distance: the mean of the unbiased MMD^2 over random subsets, with its standard error.

    arXiv:1801.01401, section 4. The standard error is the standard deviation over subsets divided by sqrt(num_subsets).
    Where num_subsets * subset_size is more than the samples of a set, subsets overlap and it is too small. Where a
    subset is the whole of both sets there is one subset: the value is its MMD^2, and the standard error nan.

    Args:
      seed: of the subsets, drawn from each set without replacement.

    Raises:
      ValueError: a set with fewer samples than a subset, fewer than 2 subsets or samples in one, different dimensions,
        or features that are not finite.
    """
    generated, reference = _checks.pair(generated, reference, least=2)
    _checks.at_least("num_subsets", num_subsets, 2)
    _checks.at_least("subset_size", subset_size, 2)
    if min(len(generated), len(reference)) < subset_size:
        raise ValueError(
            f"subset_size is {subset_size}, which needs as many samples in each set: got {len(generated)} generated "
            f"and {len(reference)} reference ones"
        )
    if subset_size == len(generated) == len(reference):
        return uncertainty.Estimate(_squared_mmd(generated, reference), math.nan)
    rng = np.random.default_rng(seed)
    values = [
        _squared_mmd(
            *(samples[rng.choice(len(samples), subset_size, replace=False)] for samples in (generated, reference))
        )
        for _ in range(num_subsets)
    ]
    return uncertainty.of_repeats(values)


def _squared_mmd(generated: np.ndarray, reference: np.ndarray) -> float:
    n, m = len(generated), len(reference)
    within_generated = (_kernel_sum(generated, generated) - _kernel_diagonal_sum(generated)) / (n * (n - 1))
    within_reference = (_kernel_sum(reference, reference) - _kernel_diagonal_sum(reference)) / (m * (m - 1))
    return float(within_generated + within_reference - 2 * _kernel_sum(generated, reference) / (n * m))


def _kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
    total = 0.0
    for rows_a in _checks.blocks(len(a)):
        block_a = a[rows_a].astype(np.float64)
        for rows_b in _checks.blocks(len(b)):
            total += _cubed(block_a @ b[rows_b].astype(np.float64).T, a.shape[1]).sum()
    return float(total)


def _kernel_diagonal_sum(a: np.ndarray) -> float:
    total = 0.0
    for rows in _checks.blocks(len(a)):
        block = a[rows].astype(np.float64)
        total += _cubed(np.einsum("ij,ij->i", block, block), a.shape[1]).sum()
    return float(total)


def _cubed(products: np.ndarray, dim: int) -> np.ndarray:
    """The kernel from inner products. As a product, because NumPy's power takes ten times as long."""
    base = products / dim + 1
    return base * base * base
