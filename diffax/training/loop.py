"""The loop around the step: batches in, metrics out, and whatever else is to happen every so often."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from diffax.reporting.metrics import MetricsWriter
from diffax.reporting.progress import Progress
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
) -> tuple[TrainState, list[dict[str, Any]]]:
    """Trains from state.step to num_steps, or until should_stop(step), asked after every step, says so.

    Returns the last state, and the metrics (of NumPy) of the last steps that are in no line yet: none unless stopped.

    Args:
      train_step: jitted; it may donate its state.
      batches: those of steps state.step, state.step + 1, ...
      unlogged: what was returned when training was stopped at state.step.

    Raises:
      FloatingPointError: a loss or gradient that is not finite at a step that is logged, naming step and quantity.
    """
    step, recent, earlier, mark = int(state.step), list(unlogged), len(unlogged), time.monotonic()
    for batch in batches:
        if step >= num_steps:
            break
        state, metrics = train_step(state, batch)
        step += 1
        recent.append(metrics)
        progress.update(step, loss=metrics["loss"])
        due = [event for event in every if step % event.steps == 0 or step == num_steps]
        if due or step % log_every == 0 or step == num_steps:
            # Checked before anything is saved.
            values = _mean_finite(step, recent)
            writer.write(step, values | {"steps_per_second": (len(recent) - earlier) / (time.monotonic() - mark)})
            for event in due:
                extra = event.action(step, state)
                if extra:
                    writer.write(step, extra)
            recent, earlier, mark = [], 0, time.monotonic()
        if step < num_steps and should_stop(step):
            if recent:
                _mean_finite(step, recent)
            break
    return state, jax.device_get(recent)


def _mean_finite(step: int, recent: list[dict[str, Any]]) -> dict[str, float]:
    """The means of the metrics of the last steps."""
    fetched = jax.device_get(recent)
    values = {name: sum(float(metrics[name]) for metrics in fetched) / len(fetched) for name in fetched[0]}
    for name in ("loss", "grad_norm"):
        if not math.isfinite(values[name]):
            first = next(i for i, metrics in enumerate(fetched) if not math.isfinite(metrics[name]))
            raise FloatingPointError(
                f"{name} is {fetched[first][name]} at step {step - len(fetched) + first + 1} (learning rate "
                f"{fetched[first]['learning_rate']:.3g}): lower the learning rate, clip the gradient or look for odd "
                "data; the last checkpoint is from before"
            )
    return values
