"""When a training run saves, and what a checkpoint says of its run."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from diffax import training
from diffax.training import unlogged
from diffax.training.checkpoint import Checkpoints

# What the best checkpoint is best by; lower is better.
BEST_BY = "held_out_loss"


@dataclasses.dataclass
class Saver:
    """Saves the states of a run, each with its config and, at the steps that were measured, the held-out loss."""

    checkpoints: Checkpoints
    config: ConfigDict
    _measured: tuple[int, float] | None = None

    def measured(self, step: int, metrics: dict[str, Any]) -> None:
        """To be told what was measured at a step, before that step is saved."""
        self._measured = step, metrics[BEST_BY]

    def save(self, step: int, state: training.TrainState, recent: list[dict[str, Any]] | None = None) -> None:
        """Saves a step, but none among skipped ones; recent: the metrics of steps that are in no line yet."""
        stopped = recent is not None
        # The run may be about to end for them, and what it goes on from should be good.
        if int(state.skipped_in_a_row) and not stopped and step < self.config.train.num_steps:
            return
        metric = self._metric(step)
        said = {"config": self.config.to_dict(), "unlogged": unlogged.to_json(recent or [])}
        self.checkpoints.save(step, state.saved(), metric=metric, description=said)

    def save_if_best(self, step: int, state: training.TrainState) -> None:
        """Saves a step that was measured to be better than any checkpoint."""
        best, metric = self.checkpoints.best(), self._metric(step)
        if metric is not None and (best is None or metric < best[1]):
            self.save(step, state)

    def unlogged(self, step: int | None) -> list[dict[str, Any]]:
        """The metrics of steps before the checkpoint of `step` that are in no line yet."""
        return [] if step is None else unlogged.from_json(self.checkpoints.description(step)["unlogged"])

    def _metric(self, step: int) -> float | None:
        return self._measured[1] if self._measured is not None and self._measured[0] == step else None
