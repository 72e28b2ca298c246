"""Studies: sweeps whose next point depends on the results so far, by ask and tell."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

Space = Mapping[str, Any] | Callable[[Any], Mapping[str, Any]]


@runtime_checkable
class Study(Protocol):
    """What `get_study()` of a sweep file returns.

    A rerun command asks again from the first point on and is told the results of finished points without training
    them. A study has to be deterministic for that: the same answers after the same results.
    """

    def ask(self) -> Mapping[str, Any] | None:
        """The overrides of the next point; None when there are no more."""

    def tell(self, point: Mapping[str, Any], value: float | None) -> None:
        """Reports the metric of a point that `ask` gave; None for one that failed."""


class OptunaStudy:
    """A study of Optuna (extra `optuna`).

    Args:
      space: {path: (low, high)}, with "log" as a third entry for a logarithmic scale, or {path: [values]}; integers
        give integers. Or a function of an optuna.Trial to overrides.
      num_points: how many points are asked for in all.
      direction: minimize or maximize.
      sampler: of Optuna; by default its TPE sampler with this seed.
    """

    def __init__(
        self,
        space: Space,
        *,
        num_points: int,
        direction: Literal["minimize", "maximize"] = "minimize",
        seed: int = 0,
        sampler: Any = None,
    ):
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise ValueError("a study of Optuna needs the extra optuna: pip install 'diffax[optuna]'") from error
        if num_points < 1:
            raise ValueError(f"num_points must be >= 1, got {num_points}")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed) if sampler is None else sampler
        self._study = optuna.create_study(direction=direction, sampler=sampler)
        self._failed = optuna.trial.TrialState.FAIL
        self._space, self._left = space, num_points
        self._trials: list[tuple[dict[str, Any], Any]] = []

    def ask(self) -> dict[str, Any] | None:
        """The overrides of the next trial; None after num_points."""
        if self._left == 0:
            return None
        self._left -= 1
        trial = self._study.ask()
        if callable(self._space):
            point = dict(self._space(trial))
        else:
            point = {path: _suggested(trial, path, values) for path, values in self._space.items()}
        self._trials.append((point, trial))
        return point

    def tell(self, point: Mapping[str, Any], value: float | None) -> None:
        """Reports the metric of a point; None for one that failed.

        Raises:
          ValueError: a point that was not asked for.
        """
        for number, (asked, trial) in enumerate(self._trials):
            if asked == dict(point):
                del self._trials[number]
                self._study.tell(trial, value, state=self._failed if value is None else None)
                return
        raise ValueError(f"the study did not ask for the point {dict(point)}")


def _suggested(trial: Any, path: str, values: Any) -> Any:
    if isinstance(values, list):
        return trial.suggest_categorical(path, values)
    if not isinstance(values, tuple) or len(values) not in (2, 3) or values[2:] not in ((), ("log",)):
        raise ValueError(
            f'{path}: a range must be (low, high) or (low, high, "log"), or a list of values, got {values!r}'
        )
    suggest = trial.suggest_int if all(isinstance(end, int) for end in values[:2]) else trial.suggest_float
    return suggest(path, *values[:2], log=len(values) == 3)
