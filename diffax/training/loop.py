"""The loop around the step: batches in, metrics out, and whatever else is to happen every so often."""

import dataclasses
import time
from collections.abc import Callable, Iterable
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
    max_skipped: int = 10,
    batch_indices: Callable[[int], np.ndarray] | None = None,
) -> TrainState:
    """Trains from state.step to num_steps.

    Args:
      train_step: jitted; it may donate its state.
      batches: those of steps state.step, state.step + 1, ...
      max_skipped: so many steps in a row without a finite loss and gradient end the run.
      batch_indices: a step to where its batch comes from, for that end's message.

    Raises:
      FloatingPointError: max_skipped steps in a row were skipped, noticed when the next metrics are written.
    """
    step, recent, mark = int(state.step), [], time.monotonic()
    watch = guard.Guard(max_skipped, batch_indices)
    for batch in batches:
        if step >= num_steps:
            break
        state, metrics = train_step(state, batch)
        step += 1
        recent.append(metrics)
        progress.update(step, loss=metrics["loss"])
        due = [event for event in every if step % event.steps == 0 or step == num_steps]
        if due or step % log_every == 0 or step == num_steps:
            fetched = jax.device_get(recent)
            # Checked before anything is saved.
            watch.check(step - len(fetched) + 1, fetched)
            writer.write(step, guard.means(fetched) | {"steps_per_second": len(recent) / (time.monotonic() - mark)})
            for event in due:
                extra = event.action(step, state)
                if extra:
                    writer.write(step, extra)
            recent, mark = [], time.monotonic()
    return state
