"""A sampler as a table of numbers: everything a fixed-step sampler does, known before it runs.

Row j is executed with one denoiser call (samplers.loop):

  x_0_j, eps_j = denoiser(query_j, t_j)                                   the newest of a short history
  anchor_j+1   = a_j anchor_j   + sum_k (b_jk x_0_j-k + e_jk eps_j-k) + c_j z_j
  query_j+1    = p_j anchor_j+1 + sum_k (q_jk x_0_j-k + r_jk eps_j-k) + d_j z_j
  result       = the query after the last row

with fresh standard normal noise z_j, the same in both lines. Fixed-step samplers of the literature, multistep,
singlestep, predictor-corrector and stochastic, are all of this form. The number of rows is the number of evaluations.
"""

import dataclasses

import jax
import numpy as np
import numpy.typing as npt

from diffax import arrays
from diffax.typing import Array, Node, Numeric, Schedule

_COLUMNS = ("b", "e", "q", "r")


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class SamplerTable:
    """Coefficients in float64; make_table builds one. A column that is None is zero and costs nothing.

    times: (rows,) when the denoiser is called. a, c, d: (rows,). b, q: (rows, depth) for x_0, e, r: (rows, depth) for
    eps, newest first; b and q share a depth, e and r another. p: (rows,), or None where query = anchor throughout (then
    q, r and d are None). push: (rows,) bool, False for a row whose prediction does not enter the history; None if all
    do. prior_std: the standard deviation of the x to begin with. initial_noise: that of noise added before row 0.
    """

    times: Node[Array]
    a: Node[Array | None]
    b: Node[Array | None]
    e: Node[Array | None]
    c: Node[Array | None]
    p: Node[Array | None]
    q: Node[Array | None]
    r: Node[Array | None]
    d: Node[Array | None]
    push: Node[Array | None]
    prior_std: Node[Numeric]
    initial_noise: Node[Numeric | None]
    name: str = dataclasses.field(default="", metadata={"static": True})

    @property
    def num_evaluations(self) -> int:
        """How often the denoiser is called: once a row."""
        return self.times.shape[-1]

    @property
    def is_stochastic(self) -> bool:
        """Whether run needs keys."""
        return any(column is not None for column in (self.c, self.d, self.initial_noise))

    def columns(self) -> dict[str, np.ndarray]:
        """Name to (rows,) float64 of everything a row has: t and the coefficients, b0, b1, ... newest first."""
        given = [("t", self.times), *((name, getattr(self, name)) for name in "abecpqrd"), ("push", self.push)]
        columns: dict[str, np.ndarray] = {}
        for name, value in given:
            if value is None:
                continue
            column = np.asarray(value, float)
            columns |= {name: column} if column.ndim == 1 else {f"{name}{k}": c for k, c in enumerate(column.T)}
        return columns

    def __str__(self) -> str:
        columns = self.columns()
        rows = [f"{self.name or 'table'}: {self.num_evaluations} evaluations"]
        rows.append(f"{'row':>4}" + "".join(f"{name:>12}" for name in columns))
        rows += [
            f"{j:>4}" + "".join(f"{column[j]:>12.6g}" for column in columns.values())
            for j in range(self.num_evaluations)
        ]
        return "\n".join(rows)


def make_table(
    name: str,
    schedule: Schedule,
    times: npt.ArrayLike,
    *,
    a: npt.ArrayLike | None = None,
    b: npt.ArrayLike | None = None,
    e: npt.ArrayLike | None = None,
    c: npt.ArrayLike | None = None,
    p: npt.ArrayLike | None = None,
    q: npt.ArrayLike | None = None,
    r: npt.ArrayLike | None = None,
    d: npt.ArrayLike | None = None,
    push: npt.ArrayLike | None = None,
    initial_noise: float = 0.0,
    prior_std: float | None = None,
) -> SamplerTable:
    """A SamplerTable from NumPy columns; vectors for b, e, q, r mean depth 1, and what is all zero is dropped.

    prior_std is the schedule's sigma at the first time unless given, as it has to be with initial_noise.

    Raises:
      ValueError: a column of the wrong length or with a number that is not finite, naming it and its row.
    """
    times = np.asarray(times, np.float64)
    given = {"a": a, "b": b, "e": e, "c": c, "p": p, "q": q, "r": r, "d": d}
    columns = {key: _checked(name, key, value, len(times)) for key, value in given.items()}
    for first, second in (("b", "q"), ("e", "r")):
        depth = max(_depth(columns[first]), _depth(columns[second]))
        for key in (first, second):
            columns[key] = _with_depth(columns[key], depth)
    columns = {key: None if column is None or not column.any() else column for key, column in columns.items()}
    if push is not None and np.shape(push) != times.shape:
        raise ValueError(f"{name}: column push must have {len(times)} rows, got shape {np.shape(push)}")
    held = p is not None and not np.all(columns["p"] == 1 if columns["p"] is not None else False)
    if not held and all(columns[key] is None for key in "qrd"):
        columns["p"] = None
    elif columns["p"] is None:
        columns["p"] = np.zeros(len(times)) if p is not None else np.ones(len(times))
    return SamplerTable(
        times=times,
        **columns,
        push=None if push is None or np.all(push) else np.asarray(push, bool),
        prior_std=float(schedule.sigma(times[0])) if prior_std is None else prior_std,
        initial_noise=initial_noise or None,
        name=name,
    )


def in_float64(schedule: Schedule) -> Schedule:
    """The schedule with NumPy float64 numbers, so that the table of a learned one is computed in float64 as well.

    One that is no pytree, somebody's own class, stays as it is.
    """
    return jax.tree.map(lambda leaf: leaf if leaf is schedule else np.asarray(leaf, np.float64), schedule)


def time_of(schedule: Schedule, log_snr: Numeric) -> np.ndarray:
    """schedule.time_of in float64.

    Raises:
      ValueError: a schedule without an inverse.
    """
    try:
        return np.asarray(schedule.time_of(np.asarray(log_snr, np.float64)))
    except (AttributeError, NotImplementedError) as error:
        raise ValueError(
            f"{type(schedule).__name__} has no inverse of its log-SNR (time_of), which this grid or sampler needs: "
            "take times uniform in t, and a sampler that asks at these only, such as ddim, adams or unipc"
        ) from error


def check_times(times: npt.ArrayLike, *, decreasing: bool | None = None) -> np.ndarray:
    """times as float64, at least two, strictly monotone in [0, 1].

    Raises:
      ValueError: naming what is wrong and where.
    """
    times = np.asarray(times, np.float64)
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"times must be a vector of at least two numbers, got shape {times.shape}")
    if not (np.all(times >= 0) and np.all(times <= 1)):
        raise ValueError(f"times must lie in [0, 1], got {times.min():g} to {times.max():g}")
    steps = np.diff(times)
    if not (np.all(steps < 0) or np.all(steps > 0)):
        rows = np.flatnonzero(steps * np.sign(steps[0]) <= 0) if steps[0] else np.array([0])
        raise ValueError(
            f"times must be strictly monotone, got {times[rows[0]]:g} and then {times[rows[0] + 1]:g} at row {rows[0]}"
        )
    if decreasing is not None and bool(steps[0] < 0) != decreasing:
        wanted = "decreasing" if decreasing else "increasing"
        raise ValueError(f"times must be {wanted}, got {times[0]:g} to {times[-1]:g}")
    return times


def with_zero(column: np.ndarray, *, end: float = 0.0) -> np.ndarray:
    """A column with one row more, for the step from sigma_min to pure data; `end` is its entry there."""
    return np.append(column, end)


def _checked(name: str, key: str, column: npt.ArrayLike | None, rows: int) -> np.ndarray | None:
    if column is None:
        return None
    column = np.asarray(column, np.float64)
    if key in _COLUMNS and column.ndim == 1:
        column = column[:, None]
    if column.ndim != (2 if key in _COLUMNS else 1) or len(column) != rows:
        raise ValueError(f"{name}: column {key} must have {rows} rows, got shape {column.shape}")
    if not np.isfinite(column).all():
        row = int(np.argwhere(~np.isfinite(column))[0][0])
        raise ValueError(f"{name}: column {key} is {column[row]} at row {row}: its times or schedule do not allow it")
    return column


def _depth(column: np.ndarray | None) -> int:
    """How many predictions a column looks back to, itself included."""
    return 0 if column is None or not column.any() else int(np.flatnonzero(column.any(axis=0))[-1]) + 1


def _with_depth(column: np.ndarray | None, depth: int) -> np.ndarray | None:
    if column is None:
        return None
    column = column[:, :depth]
    return np.pad(column, ((0, 0), (0, depth - column.shape[1])))
