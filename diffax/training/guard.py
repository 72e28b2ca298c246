"""Non-finite losses and gradients: what a run reports of skipped steps, and when it stops."""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# Enough to see whether a loss rose before it was not finite.
HISTORY = 10


@dataclasses.dataclass
class Guard:
    """Stops a run after max_skipped skipped steps in a row.

    batch_indices: the step, counted from 0, to the indices of its batch in the dataset.
    """

    max_skipped: int
    batch_indices: Callable[[int], np.ndarray] | None = None
    _losses: collections.deque[float] = dataclasses.field(default_factory=lambda: collections.deque(maxlen=HISTORY))
    _first: str = ""

    def check(self, first_step: int, metrics: Sequence[dict[str, Any]]) -> None:
        """Checks the metrics of the steps first_step (counted from 1), first_step + 1, ...

        Raises:
          FloatingPointError: too many in a row, naming the first of them, what was not finite, the learning rate, the
            losses before, and the batch.
        """
        for step, values in enumerate(metrics, first_step):
            self._losses.append(float(values["loss"]))
            in_a_row = int(values["skipped_in_a_row"])
            if in_a_row == 1 or (in_a_row and not self._first):
                self._first = self._describe(step, values)
            if in_a_row >= self.max_skipped:
                raise FloatingPointError(
                    f"{self._first}; {in_a_row} steps in a row were skipped: lower the learning rate, clip the "
                    "gradient or look for odd data; the last checkpoint is from before"
                )

    def _describe(self, step: int, values: dict[str, Any]) -> str:
        name = "loss" if not np.isfinite(values["loss"]) else "grad_norm"
        message = (
            f"{name} is {float(values[name])} at step {step} (learning rate {float(values['learning_rate']):.3g}; "
            f"losses up to there {', '.join(f'{loss:.4g}' for loss in self._losses)}"
        )
        if self.batch_indices is not None:
            message += f"; examples of its batch {', '.join(map(str, self.batch_indices(step - 1)))}"
        return message + ")"


def means(metrics: Sequence[dict[str, Any]]) -> dict[str, float | int]:
    """Mean metrics over the steps that were not skipped (none if all were), and "skipped", their number so far, if any.

    metrics: those of consecutive steps, fetched from the device.
    """
    finite = [values for values in metrics if values["skipped_in_a_row"] == 0]
    names = [name for name in metrics[0] if name not in ("skipped", "skipped_in_a_row")] if finite else []
    mean: dict[str, float | int] = {name: sum(float(values[name]) for values in finite) / len(finite) for name in names}
    skipped = int(metrics[-1]["skipped"])
    return mean | {"skipped": skipped} if skipped else mean
