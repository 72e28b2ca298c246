"""The definition of a table, executed as it stands: NumPy, float64, whole histories, noise handed in.

samplers.run does the same on any device, compiled and with no history longer than needed. This one is for analysis:
nothing is compiled, the denoiser may be any function, and the states need not be samples.
"""

from collections.abc import Callable

import numpy as np

from diffax.samplers.table import SamplerTable

# (x, t) to (x_0, eps), in NumPy.
Halves = Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]


def by_definition(table: SamplerTable, halves: Halves, x: np.ndarray, noise: np.ndarray | None) -> np.ndarray:
    """The states after every row, (rows, *x.shape); noise is (rows, *x.shape), None for none."""
    anchor = query = np.asarray(x, np.float64)
    x_0s: list[np.ndarray] = []
    epss: list[np.ndarray] = []
    states = []
    for j, t in enumerate(np.asarray(table.times, float)):
        x_0, eps = halves(query, float(t))
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
    """One of the two lines of samplers.table: the columns of own state, x_0s, eps and noise by their names."""
    own, of_x_0, of_eps, of_noise = (getattr(table, name) for name in names)
    result = np.zeros_like(state) if own is None else own[j] * state
    for column, history in ((of_x_0, x_0s), (of_eps, epss)):
        for weight, past in zip([] if column is None else column[j], history, strict=False):
            result = result + weight * past
    return result if of_noise is None or noise is None else result + of_noise[j] * noise
