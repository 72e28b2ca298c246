"""The training loop of several points in one compiled program, as training.fit is that of one."""

import contextlib
import dataclasses
import pathlib
import time
from typing import Any

import jax
import numpy as np

from diffax import training
from diffax.jobs import train
from diffax.reporting import progress, throughput
from diffax.reporting.metrics import MetricsWriter
from diffax.runs import opening, reports
from diffax.runs.errors import Preempted
from diffax.runs.evaluation_data import EvaluationData
from diffax.runs.model import Model
from diffax.runs.saver import Saver
from diffax.sweeps.points import Point
from diffax.sweeps.shared_step import SharedStep
from diffax.training import guard, preemption


@dataclasses.dataclass(eq=False)
class Member:
    """A point in training: its model, what saves and measures it, and where it goes on.

    ending: closes what is open of it, and writes down how it ended.
    """

    point: Point
    model: Model
    workdir: pathlib.Path
    saver: Saver
    saved: dict[str, Any] | None
    start: int | None
    saving: tuple[training.PeriodicCallback, ...]
    measuring: tuple[training.PeriodicCallback, ...]
    ending: contextlib.ExitStack
    recent: list[dict[str, Any]]
    watch: guard.Guard
    writer: MetricsWriter | None = None

    def end(self, error: BaseException | None = None) -> None:
        """Ends this point, with an error or finished, unless it has ended."""
        self.ending.__exit__(None if error is None else type(error), error, None)


def fit(members: list[Member], data: EvaluationData) -> None:
    """Trains members from one step to the last; raises Preempted where it was stopped, with all saved."""
    shared, start = SharedStep([member.model for member in members], data.train), members[0].start or 0
    state = shared.init() if members[0].saved is None else shared.continued([member.saved or {} for member in members])
    for index, member in enumerate(members):
        if member.saver.is_to_measure(member.start):
            row = shared.row(state, index, data.mesh)
            train.measure(member.measuring, start, row, member.point.config, member.workdir)
        member.writer = member.ending.enter_context(MetricsWriter(member.workdir, start))
    loop = _Loop(members, shared, data)
    num_steps = members[0].point.config.train.num_steps
    with preemption.watched() as should_stop, progress.Progress(num_steps, start_step=start) as bar:
        if start < num_steps:
            print(f"{len(members)} points together, from step {start}: {members[0].workdir.parent}", flush=True)
            state, step = loop.run(state, start, should_stop, bar)
            if step < num_steps:
                loop.stop(state, step)
    for index, member in enumerate(members):
        if index not in loop.failed:
            member.saver.checkpoints.wait()
            row = shared.row(state, index, data.mesh)
            reports.after_training(member.workdir, opening.live(member.model, row, num_steps, data.mesh))


@dataclasses.dataclass
class _Loop:
    """The training loop of several points, as training.fit is that of one."""

    members: list[Member]
    shared: SharedStep
    data: EvaluationData

    def __post_init__(self) -> None:
        self.failed: set[int] = set()
        self._recent: list[Any] = []

    def run(self, state: Any, step: int, should_stop: Any, bar: progress.Progress) -> tuple[Any, int]:
        """Trains to the last step, or until should_stop; returns the last state and its step."""
        train_step, config = self.shared.step(), self.members[0].point.config.train
        mark, since = time.monotonic(), 0
        due_at = [*self.members[0].saving, *self.members[0].measuring]
        for batch in self.shared.batches(step):
            state, metrics = train_step(state, batch)
            step, since = step + 1, since + 1
            self._recent.append(metrics)
            bar.update(step, loss=_Mean(metrics["loss"]))
            due = any(callback.is_due(step, config.num_steps) for callback in due_at)
            if due or step % config.log_every == 0 or step == config.num_steps:
                fetched, self._recent = jax.device_get(self._recent), []
                rates = throughput.rates(since / (time.monotonic() - mark), config.batch_size, None, 1.0)
                for index in range(len(self.members)):
                    self._log(index, step, state, fetched, rates)
                mark, since = time.monotonic(), 0
            if step >= config.num_steps or len(self.failed) == len(self.members) or should_stop(step):
                break
        return state, step

    def stop(self, state: Any, step: int) -> None:
        """Saves all members at a step, with the metrics that no line covers yet."""
        if len(self.failed) == len(self.members):
            return
        fetched = jax.device_get(self._recent)
        for index, member in enumerate(self.members):
            if index not in self.failed:
                recent = [*member.recent, *_rows(fetched, index)]
                member.saver.save(step, self.shared.row(state, index, self.data.mesh), recent)
        num_steps = self.members[0].point.config.train.num_steps
        raise Preempted(
            f"{self.members[0].workdir.parent}: saved at step {step} of {num_steps}; the same command goes on"
        )

    def _log(self, index: int, step: int, state: Any, fetched: list[Any], rates: dict[str, float]) -> None:
        """What training.fit does at a line of metrics, for one member; its error is its own."""
        member = self.members[index]
        if index in self.failed or member.writer is None:
            return
        num_steps = member.point.config.train.num_steps
        try:
            values = [*member.recent, *_rows(fetched, index)]
            member.recent = []
            member.watch.check(step - len(values) + 1, values)
            member.writer.write(step, guard.means(values) | rates)
            due = [one for one in (*member.saving, *member.measuring) if one.is_due(step, num_steps)]
            if due:
                row = self.shared.row(state, index, self.data.mesh)
                training.run_callbacks(due, step, row, member.writer)
        except (FloatingPointError, OSError) as error:
            self.failed.add(index)
            member.end(error)


class _Mean:
    """The mean of a loss over points, computed when it is shown."""

    def __init__(self, values: jax.Array):
        self._values = values

    def __float__(self) -> float:
        return float(np.mean(np.asarray(self._values)))


def _rows(fetched: list[dict[str, np.ndarray]], index: int) -> list[dict[str, Any]]:
    return [{name: values[index] for name, values in metrics.items()} for metrics in fetched]
