"""A reference implementation of the sampling loop, in NumPy and float64, for tests and analysis.

It follows the definition of a table (samplers.table) literally: it keeps whole histories and takes its noise as an
argument. samplers.run computes the same on any device, compiled, with histories no longer than needed. Here nothing is
compiled, the denoiser may be any function, and the state may have any shape.
"""

from collections.abc import Callable

import numpy as np

from diffax.samplers.table import SamplerTable

# (x, t) to (x_0, eps), in NumPy; (x, t, s) where the table has targets.
Halves = Callable[..., tuple[np.ndarray, np.ndarray]]


def reference_run(halves: Halves, table: SamplerTable, x: np.ndarray, noise: np.ndarray | None) -> np.ndarray:
    """Runs a sampler table in float64 and returns the states after every row, (rows, *x.shape).

    Args:
      halves: a denoiser in NumPy, (x, t) to (x_0, eps); of a table with targets, (x, t, s).
      x: the state at the table's first time.
      noise: (rows, *x.shape), standard normal noise for every row; None for no noise.

    Raises:
      ValueError: a table with a learned variance, whose noise depends on more than x_0 and eps.
    """
    if table.c_large is not None:
        raise ValueError(f"reference_run takes no table with a learned variance, got {table.name}: use ddpm")
    anchor = query = np.asarray(x, np.float64)
    x_0s: list[np.ndarray] = []
    epss: list[np.ndarray] = []
    states = []
    columns = [table.times] if table.targets is None else [table.times, table.targets]
    for j, times in enumerate(np.stack(columns, axis=1).astype(float)):
        x_0, eps = halves(query, *map(float, times))
        seen_x_0, seen_eps, z = [x_0, *x_0s], [eps, *epss], None if noise is None else noise[j]
        anchor = _combined(table, j, "abec", anchor, seen_x_0, seen_eps, z)
        query = anchor if table.p is None else _combined(table, j, "pqrd", anchor, seen_x_0, seen_eps, z)
        if table.push is None or table.push[j]:
            x_0s, epss = seen_x_0, seen_eps
        states.append(query)
    return np.array(states)


def _combined(
    table: SamplerTable,
    j: int,
    names: str,
    state: np.ndarray,
    x_0s: list[np.ndarray],
    epss: list[np.ndarray],
    noise: np.ndarray | None,
) -> np.ndarray:
    """The anchor's or the query's line of samplers.table; names are its columns: own state, x_0s, eps and noise."""
    own, of_x_0, of_eps, of_noise = (getattr(table, name) for name in names)
    result = np.zeros_like(state) if own is None else own[j] * state
    for column, history in ((of_x_0, x_0s), (of_eps, epss)):
        for weight, past in zip([] if column is None else column[j], history, strict=False):
            result = result + weight * past
    return result if of_noise is None or noise is None else result + of_noise[j] * noise
