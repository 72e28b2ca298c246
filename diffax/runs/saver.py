"""When a training run saves a checkpoint, and what a checkpoint records of its run."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from diffax import training
from diffax.training import unlogged
from diffax.training.checkpoint import Checkpoints


@dataclasses.dataclass
class Saver:
    """Saves the states of a run, each with its configuration and, where it was measured, the metric of the best."""

    checkpoints: Checkpoints
    config: ConfigDict
    _measured: tuple[int, float] | None = None

    def measured(self, step: int, metrics: dict[str, Any]) -> None:
        """Takes note of metrics that were measured at a step."""
        if self.config.train.best in metrics:
            self._measured = step, float(metrics[self.config.train.best])

    def save(
        self,
        step: int,
        state: training.TrainState,
        recent: list[dict[str, Any]] | None = None,
        *,
        to_measure: bool = False,
    ) -> None:
        """Saves a step, unless it was skipped.

        Args:
          recent: the metrics of steps that no line of metrics covers yet.
          to_measure: whether the step will be measured after it was saved.
        """
        stopped = recent is not None
        # A run that is about to end for skipped steps should continue from a good one.
        if int(state.skipped_in_a_row) and not stopped and step < self.config.train.num_steps:
            return
        record = {"config": self.config.to_dict(), "unlogged": unlogged.to_json(recent or [])}
        record["to_measure"] = to_measure
        self.checkpoints.save(step, state.saved(), metric=self._metric(step), description=record)

    def save_before_measuring(self, step: int, state: training.TrainState) -> None:
        """Saves a step that will be measured, and waits until it is written: measuring may end the process."""
        self.save(step, state, to_measure=True)
        self.checkpoints.wait()

    def save_measured(self, step: int, state: training.TrainState) -> None:
        """Adds its metric to the checkpoint of a step; without one, saves the step if it is better than all others."""
        metric = self._metric(step)
        if step in self.checkpoints.steps():
            self.checkpoints.amend(step, metric=metric, description={"to_measure": False})
        elif metric is not None and self.checkpoints.is_better(metric):
            self.save(step, state)

    def is_to_measure(self, step: int | None) -> bool:
        """Whether the process died while it measured the step of a checkpoint."""
        return step is not None and self.checkpoints.description(step).get("to_measure", False)

    def unlogged(self, step: int | None) -> list[dict[str, Any]]:
        """The metrics of steps before the checkpoint of `step` that no line of metrics covers yet."""
        return [] if step is None else unlogged.from_json(self.checkpoints.description(step)["unlogged"])

    def _metric(self, step: int) -> float | None:
        return self._measured[1] if self._measured is not None and self._measured[0] == step else None
