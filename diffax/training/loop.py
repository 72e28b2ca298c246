"""The training loop: batches into the step, metrics out of it, and periodic callbacks."""

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
class PeriodicCallback:
    """Calls action(step, state) after every `every` steps and after the last.

    The metrics (numbers) and pictures (uint8 arrays) that it returns are written.
    """

    every: int
    action: Callable[[int, TrainState], dict[str, Any] | None]

    def is_due(self, step: int, num_steps: int) -> bool:
        """Whether the action is called after a step of training to num_steps."""
        return step % self.every == 0 or step == num_steps


def run_callbacks(callbacks: Iterable[PeriodicCallback], step: int, state: TrainState, writer: MetricsWriter) -> None:
    """Calls callbacks at a step, in order, and writes the metrics and pictures that they return."""
    for callback in callbacks:
        returned = callback.action(step, state) or {}
        pictures = {name: value for name, value in returned.items() if np.ndim(value) > 1}
        metrics = {name: value for name, value in returned.items() if name not in pictures}
        if metrics:
            writer.write(step, metrics)
        if pictures:
            writer.write_pictures(step, pictures)


def fit(
    train_step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
    state: TrainState,
    batches: Iterable[Batch],
    *,
    num_steps: int,
    log_every: int,
    writer: MetricsWriter,
    progress: Progress,
    callbacks: tuple[PeriodicCallback, ...] = (),
    should_stop: Callable[[int], bool] = lambda step: False,
    unlogged: Sequence[dict[str, Any]] = (),
    max_skipped: int = 10,
    batch_indices: Callable[[int], np.ndarray] | None = None,
    rates: Callable[[float], dict[str, float]] = lambda steps_per_second: {"steps_per_second": steps_per_second},
) -> tuple[TrainState, list[dict[str, Any]]]:
    """Trains from state.step to num_steps, or until should_stop(step), which is called after every step, is true.

    Returns the last state, and the metrics (NumPy) of steps that no line of metrics covers yet: none unless stopped.

    Args:
      train_step: jitted; it may donate its state.
      batches: those of steps state.step, state.step + 1, ...
      callbacks: in the order in which they are called after a step.
      unlogged: the metrics that were returned when training was stopped at state.step.
      max_skipped: how many steps in a row without a finite loss and gradient end the run.
      batch_indices: a step to the indices of its batch in the data, for the message of that error.
      rates: steps per second to the throughput metrics to be written.

    Raises:
      FloatingPointError: max_skipped steps in a row were skipped, noticed when the next metrics are written.
    """
    watch = guard.Guard(max_skipped, batch_indices)
    step, recent, earlier, mark = int(state.step), list(unlogged), len(unlogged), time.monotonic()
    for batch in batches:
        if step >= num_steps:
            break
        state, metrics = train_step(state, batch)
        step += 1
        recent.append(metrics)
        progress.update(step, loss=metrics["loss"])
        due = [callback for callback in callbacks if callback.is_due(step, num_steps)]
        if due or step % log_every == 0 or step == num_steps:
            fetched = jax.device_get(recent)
            # Checked before anything is saved.
            watch.check(step - len(fetched) + 1, fetched)
            writer.write(step, guard.means(fetched) | rates((len(fetched) - earlier) / (time.monotonic() - mark)))
            run_callbacks(due, step, state, writer)
            recent, earlier, mark = [], 0, time.monotonic()
        if step < num_steps and should_stop(step):
            break
    fetched = jax.device_get(recent)
    watch.check(step - len(fetched) + 1, fetched)
    return state, fetched
