"""The loop around the step: batches in, metrics out, and whatever else is to happen every so often."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from diffax.reporting.metrics import MetricsWriter
from diffax.reporting.progress import Progress
from diffax.training import guard
from diffax.training.state import TrainState
from diffax.training.step import Batch, Metrics


@dataclasses.dataclass(frozen=True)
class Every:
    """Calls action(step, state) after every `steps` steps and after the last; its metrics, if any, are written."""

    steps: int
    action: Callable[[int, TrainState], dict[str, Any] | None]


def fit(
    train_step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
    state: TrainState,
    batches: Iterable[Batch],
    *,
    num_steps: int,
    log_every: int,
    writer: MetricsWriter,
    progress: Progress,
    every: tuple[Every, ...] = (),
    should_stop: Callable[[int], bool] = lambda step: False,
    unlogged: Sequence[dict[str, Any]] = (),
    max_skipped: int = 10,
    batch_indices: Callable[[int], np.ndarray] | None = None,
    steps_per_dispatch: int = 1,
    rates: Callable[[float], dict[str, float]] = lambda steps_per_second: {"steps_per_second": steps_per_second},
) -> tuple[TrainState, list[dict[str, Any]]]:
    """Trains from state.step to num_steps, or until should_stop(step), asked after every step, says so.

    Returns the last state, and the metrics (of NumPy) of the last steps that are in no line yet: none unless stopped.

    Args:
      train_step: jitted; it may donate its state.
      batches: those of steps state.step, state.step + 1, ...
      unlogged: what was returned when training was stopped at state.step.
      max_skipped: so many steps in a row without a finite loss and gradient end the run.
      batch_indices: a step to where its batch comes from, for that end's message.
      steps_per_dispatch: steps that train_step makes, of a batch of batches; see `check_multiples`.
      rates: steps per second to the metrics to be written of it.

    Raises:
      FloatingPointError: max_skipped steps in a row were skipped, noticed when the next metrics are written.
    """
    watch = guard.Guard(max_skipped, batch_indices)
    step, recent, earlier, mark = int(state.step), list(unlogged), len(unlogged), time.monotonic()
    for batch in batches:
        if step >= num_steps:
            break
        state, metrics = train_step(state, batch)
        step += steps_per_dispatch
        recent.append(metrics)
        progress.update(step, loss=metrics["loss"] if steps_per_dispatch == 1 else metrics["loss"][-1])
        due = [event for event in every if step % event.steps == 0 or step == num_steps]
        if due or step % log_every == 0 or step == num_steps:
            fetched = _fetched(recent)
            # Checked before anything is saved.
            watch.check(step - len(fetched) + 1, fetched)
            writer.write(step, guard.means(fetched) | rates((len(fetched) - earlier) / (time.monotonic() - mark)))
            for event in due:
                extra = event.action(step, state)
                if extra:
                    writer.write(step, extra)
            recent, earlier, mark = [], 0, time.monotonic()
        if step < num_steps and should_stop(step):
            break
    fetched = _fetched(recent)
    watch.check(step - len(fetched) + 1, fetched)
    return state, fetched


def check_multiples(steps_per_dispatch: int, **intervals: int) -> None:
    """Raises ValueError unless everything that happens every so many steps happens between two dispatches."""
    if steps_per_dispatch < 1:
        raise ValueError(f"train.steps_per_dispatch must be >= 1, got {steps_per_dispatch}")
    for name, steps in intervals.items():
        if steps % steps_per_dispatch:
            raise ValueError(
                f"{name} must be a multiple of train.steps_per_dispatch = {steps_per_dispatch}, got {steps}"
            )


def _fetched(recent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The metrics of every step by itself, on the host."""
    by_dispatch = [{name: np.atleast_1d(values) for name, values in each.items()} for each in jax.device_get(recent)]
    return [
        {name: values[i] for name, values in each.items()} for each in by_dispatch for i in range(len(each["loss"]))
    ]
