"""Sampler tables: the coefficients of a fixed-step sampler, known before it runs.

A table has one row per function evaluation. The sampling loop (samplers.run) executes row j with one denoiser call:

  x_0_j, eps_j = denoiser(query_j, t_j)                                   the newest entry of a short history
  anchor_j+1   = a_j anchor_j   + sum_k (b_jk x_0_j-k + e_jk eps_j-k) + c_j z_j
  query_j+1    = p_j anchor_j+1 + sum_k (q_jk x_0_j-k + r_jk eps_j-k) + d_j z_j
  result       = the query after the last row

z_j is fresh standard normal noise, the same in both lines. The anchor is the state of the sampler; the query is the
point at which the denoiser is evaluated next. One-step and multistep samplers keep query = anchor. Singlestep methods
(Heun, DPM-Solver) evaluate at intermediate queries, and predictor-corrector methods correct the anchor and predict the
query from the same evaluation. The number of rows is the number of function evaluations (NFE).
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from diffax import arrays
from diffax.typing import Array, Numeric, Schedule

_MATRICES = ("b", "e", "q", "r")
_COLUMNS = ("times", "targets", "a", "b", "e", "c", "c_large", "p", "q", "r", "d", "push")


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class SamplerTable:
    """The coefficients of a sampler, one row per denoiser call, in float64. make_table builds and checks one.

    A column that is None is zero throughout and costs nothing at run time.

    times: (rows,), the time of each denoiser call.
    targets: (rows,), the second time of each call, of a denoiser of two times; None for ordinary denoisers.
    a: (rows,), the factor of the anchor.
    b, e: (rows, depth), the weights of the x_0 and eps predictions in the anchor, newest first.
    c: (rows,), the standard deviation of the noise added to the anchor.
    c_large: (rows,), for learned variances (`ancestral`): the noise of a row then has the standard deviation
      c^(1 - v) c_large^v with v the prediction's log_variance_fraction, and 0 where c = 0.
    p: (rows,), the factor of the anchor in the query; None where query = anchor throughout, and then q, r and d are
      None as well.
    q, r: (rows, depth), the weights of the x_0 and eps predictions in the query. q has the depth of b, r that of e.
    d: (rows,), the standard deviation of the noise added to the query.
    push: (rows,) bool, False for a row whose prediction does not enter the history; None if all do.
    prior_std: the standard deviation of the initial state.
    initial_noise: the standard deviation of noise added before row 0.
    name: shown in error messages and by print.
    """

    times: Array
    a: Array | None
    b: Array | None
    e: Array | None
    c: Array | None
    c_large: Array | None
    p: Array | None
    q: Array | None
    r: Array | None
    d: Array | None
    push: Array | None
    prior_std: Numeric
    initial_noise: Numeric | None
    targets: Array | None = None
    name: str = dataclasses.field(default="", metadata={"static": True})

    @property
    def num_evaluations(self) -> int:
        """The number of function evaluations (NFE): one denoiser call per row."""
        return self.times.shape[-1]

    @property
    def is_stochastic(self) -> bool:
        """Whether sampling needs PRNG keys."""
        return any(column is not None for column in (self.c, self.d, self.initial_noise))

    def columns(self) -> dict[str, np.ndarray]:
        """The columns that are not None, by name, each (rows,) float64; matrices as b0, b1, ..., newest first."""
        columns: dict[str, np.ndarray] = {}
        for name, value in [("t", self.times), *((name, getattr(self, name)) for name in _COLUMNS[1:])]:
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
    c_large: npt.ArrayLike | None = None,
    p: npt.ArrayLike | None = None,
    q: npt.ArrayLike | None = None,
    r: npt.ArrayLike | None = None,
    d: npt.ArrayLike | None = None,
    push: npt.ArrayLike | None = None,
    targets: npt.ArrayLike | None = None,
    initial_noise: float = 0.0,
    prior_std: float | None = None,
) -> SamplerTable:
    """Builds a SamplerTable from NumPy columns. Columns that are zero throughout are dropped.

    Args:
      b, e, q, r: (rows, depth), or (rows,) for a depth of 1.
      c_large: dropped where c is zero throughout; not together with d.
      prior_std: the schedule's sigma at the first time unless given. With initial_noise it has to be given.

    Raises:
      ValueError: a column of the wrong length or with an entry that is not finite, naming the column and the row;
        c_large together with d.
    """
    times = np.asarray(times, np.float64)
    entries = {"a": a, "b": b, "e": e, "c": c, "c_large": c_large, "p": p, "q": q, "r": r, "d": d}
    columns = {key: _checked(name, key, value, len(times)) for key, value in entries.items()}
    checked_targets = _checked(name, "targets", targets, len(times))
    for first, second in (("b", "q"), ("e", "r")):
        depth = max(_depth(columns[first]), _depth(columns[second]))
        for key in (first, second):
            columns[key] = _with_depth(columns[key], depth)
    columns = {key: None if column is None or not column.any() else column for key, column in columns.items()}
    if columns["c"] is None:
        columns["c_large"] = None
    if columns["c_large"] is not None and columns["d"] is not None:
        raise ValueError(f"{name}: a table with c_large (a learned variance) cannot have d")
    if push is not None and np.shape(push) != times.shape:
        raise ValueError(f"{name}: column push must have {len(times)} rows, got shape {np.shape(push)}")
    has_anchor = p is not None and not np.all(columns["p"] == 1 if columns["p"] is not None else False)
    if not has_anchor and all(columns[key] is None for key in "qrd"):
        columns["p"] = None
    elif columns["p"] is None:
        columns["p"] = np.zeros(len(times)) if p is not None else np.ones(len(times))
    return SamplerTable(
        times=times,
        **columns,
        push=None if push is None or np.all(push) else np.asarray(push, bool),
        prior_std=float(schedule.sigma(times[0])) if prior_std is None else prior_std,
        initial_noise=initial_noise or None,
        targets=checked_targets,
        name=name,
    )


def to_data(table: SamplerTable, t: float) -> SamplerTable:
    """Appends a last denoising step: one more row, at time t, whose result is the predicted x_0.

    For noise schedules that end at sigma_min > 0, such as VarianceExploding, so that the result is noise-free data. It
    costs one more evaluation. EDM's N sigmas followed by 0 (arXiv:2206.00364) are
    `to_data(heun(schedule, times), times[-1])` with times = grids.karras(schedule, N - 1).

    Args:
      t: the time that the table's last row leads to, times[-1] of the grid that the table was built on. The result of
        the table has to be a sample at this time, which cannot be checked in general.

    Raises:
      ValueError: t outside [0, 1], or later than the time of the table's last row; a table of a flow map, which goes
        to data by itself.
    """
    if table.targets is not None:
        raise ValueError(f"{table.name} goes to data by itself")
    last = float(np.asarray(table.times)[-1])
    if not 0 <= t <= last:
        raise ValueError(f"to_data needs 0 <= t <= {last:g}, the time of the last row of {table.name}, got {t:g}")

    columns: dict[str, Any] = {
        name: np.asarray(getattr(table, name)) for name in _COLUMNS if getattr(table, name) is not None
    }
    if table.b is None:
        columns["b"] = np.zeros((table.num_evaluations, 1)) if table.q is None else np.zeros_like(columns["q"])
    row = {name: np.zeros((1, *column.shape[1:]), column.dtype) for name, column in columns.items()}
    row["times"][0], row["b"][0, 0] = t, 1.0
    for name in {"p", "push"} & set(row):
        row[name][0] = 1
    extended: dict[str, Any] = {name: np.concatenate([column, row[name]]) for name, column in columns.items()}
    return dataclasses.replace(table, **extended)


def t_of_log_snr(schedule: Schedule, log_snr: Numeric) -> np.ndarray:
    """The time at which the schedule has this log-SNR, in float64.

    Raises:
      ValueError: a schedule without an inverse.
    """
    try:
        return np.asarray(schedule.t_of_log_snr(np.asarray(log_snr, np.float64)))
    except (AttributeError, NotImplementedError) as error:
        raise ValueError(
            f"{type(schedule).__name__} has no inverse of its log-SNR (t_of_log_snr), which this grid or sampler "
            "needs: use times uniform in t, and a sampler that evaluates only at these, such as ddim, adams or unipc"
        ) from error


def check_times(times: npt.ArrayLike, *, decreasing: bool | None = None) -> np.ndarray:
    """Checks a time grid and returns it in float64: at least two times, strictly monotone, in [0, 1].

    Args:
      decreasing: the direction that the times must have; None for either.

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
        direction = "decreasing" if decreasing else "increasing"
        raise ValueError(f"times must be {direction}, got {times[0]:g} to {times[-1]:g}")
    return times


def _checked(name: str, key: str, column: npt.ArrayLike | None, rows: int) -> np.ndarray | None:
    """The column in float64, checked; b, e, q and r as matrices."""
    if column is None:
        return None
    column = np.asarray(column, np.float64)
    if key in _MATRICES and column.ndim == 1:
        column = column[:, None]
    if column.ndim != (2 if key in _MATRICES else 1) or len(column) != rows:
        raise ValueError(f"{name}: column {key} must have {rows} rows, got shape {column.shape}")
    if not np.isfinite(column).all():
        row = int(np.argwhere(~np.isfinite(column))[0][0])
        raise ValueError(f"{name}: column {key} is {column[row]} at row {row}: its times or schedule do not allow it")
    return column


def _depth(column: np.ndarray | None) -> int:
    """The number of predictions that a column uses, the newest included."""
    return 0 if column is None or not column.any() else int(np.flatnonzero(column.any(axis=0))[-1]) + 1


def _with_depth(column: np.ndarray | None, depth: int) -> np.ndarray | None:
    if column is None:
        return None
    column = column[:, :depth]
    return np.pad(column, ((0, 0), (0, depth - column.shape[1])))
