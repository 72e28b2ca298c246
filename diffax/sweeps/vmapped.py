"""Points trained together in one compiled program, each in a run directory as if it had been trained alone."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from diffax import build, build_data, sharding, training
from diffax.data import pipeline
from diffax.jobs import train
from diffax.reporting import progress, throughput
from diffax.reporting.metrics import MetricsWriter
from diffax.runs import directory as run_directory
from diffax.runs.errors import InUse, Preempted, UserError, for_people
from diffax.runs.evaluation_data import EvaluationData
from diffax.runs.model import DataDescription, Model
from diffax.runs.saver import Saver
from diffax.sweeps import directory, programs, sequential
from diffax.sweeps.directory import State
from diffax.sweeps.points import Point
from diffax.sweeps.shared_step import SharedStep
from diffax.training import guard, preemption


def run(
    workdir: pathlib.Path, points: Sequence[Point], *, num_together: int | None = None, fail_fast: bool = False
) -> None:
    """Trains pending points, those that share a program together and the others one after another.

    On a CPU networks with convolutions are trained one after another, since the gradient of several convolutions at
    once takes about five times as long there as one after another.

    Args:
      num_together: how many points a program has at most; None for all that share it.
      fail_fast: the first failure ends the sweep.

    Raises:
      UserError: fail_fast, and a point failed.
      Preempted: SIGTERM or Ctrl-C came; all points are saved.
    """
    pending = [point for point in points if directory.status(workdir, point.name).state is State.PENDING]
    for group in programs.groups(pending, lambda point: (programs.can_share(point.config), programs.key(point.config))):
        alone = not programs.can_share(group[0].config)
        size = 1 if alone else num_together or len(group)
        for start in range(0, len(group), size):
            part = group[start : start + size]
            if len(part) > 1:
                part = _together(workdir, part)
            sequential.run(workdir, part, fail_fast=fail_fast)
            failed = [point for point in group if directory.status(workdir, point.name).state is State.FAILED]
            if failed and fail_fast:
                raise UserError(f"{failed[0].name} failed: {directory.status(workdir, failed[0].name).message}")


@dataclasses.dataclass(eq=False)
class _Member:
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


def _together(workdir: pathlib.Path, points: Sequence[Point]) -> list[Point]:
    """Trains points together; returns those that are to be trained one after another instead."""
    config = points[0].config
    try:
        train.check(config)
        with for_people():
            examples, held_out = build_data.splits(config, report=progress.downloads())
            description = DataDescription.of(config, examples)
            first = Model.build(config, description)
    except UserError:
        return list(points)  # each says by itself what is wrong with it
    if jax.default_backend() == "cpu" and programs.has_convolutions(first):
        print(
            f"{len(points)} points one after another: on a CPU convolutions of several networks at once take longer",
            flush=True,
        )
        return list(points)
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    data = EvaluationData.of(config, examples, held_out, mesh)
    models = {point.name: model for point in points if (model := _model(point, first)) is not None}
    rest = [point for point in points if point.name not in models]
    for same in programs.groups(models.items(), lambda item: programs.structure(item[1].hyperparameters)):
        chosen = [point for point in points if point.name in dict(same)]
        _train(workdir, chosen, models, data)
    return rest


def _model(point: Point, first: Model) -> Model | None:
    """The model of a point, with the network and loss of the first, so that compiled programs serve all; None if it
    cannot be built."""
    try:
        train.check(point.config)
        with for_people():
            own = Model.build(point.config, first.data)
            model = dataclasses.replace(own, network=first.network, time_input=first.time_input)
            vars(model)["loss"] = first.loss  # the cached property
            model.hyperparameters, build.evaluators(point.config)
    except UserError:
        return None
    return model


def _train(workdir: pathlib.Path, points: Sequence[Point], models: dict[str, Model], data: EvaluationData) -> None:
    """Trains points of one structure; those that are continued at different steps one group after another."""
    members: list[_Member] = []
    try:
        for point in points:
            with contextlib.suppress(InUse):
                member = _begun(workdir, point, models[point.name], data)
                members += [] if member is None else [member]
        for same in programs.groups(members, lambda member: member.start or 0):
            _fit(same, data)
    except BaseException as error:
        for member in members:
            member.end(error)
        # What is wrong with all of them is written down as the failure of each.
        if isinstance(error, Preempted) or not isinstance(error, Exception):
            raise
    else:
        for member in members:
            member.end()


def _begun(workdir: pathlib.Path, point: Point, model: Model, data: EvaluationData) -> _Member | None:
    """The member of a point, restored from its newest checkpoint; None for one that another process finished or that
    cannot be continued.

    Raises:
      InUse: another process trains it.
    """
    config, directory_, ending = point.config, workdir / point.name, contextlib.ExitStack()
    earlier = ending.enter_context(sequential.claimed(workdir, point))
    if earlier.state in (State.FINISHED, State.FAILED):
        ending.close()
        return None
    ending.enter_context(sequential.watched(workdir, point, earlier))
    try:
        checkpoints, _, _ = ending.enter_context(train.opened(model, directory_))
        ending.enter_context(train.failing_to_write(directory_))
        with for_people():
            like = SharedStep([model], data.train).like(data.mesh) if checkpoints.steps() else {}
            restored = checkpoints.restore_newest(like)
        saved, start = (None, None) if restored is None else (restored[1], restored[0])
        model.data.write(directory_)
        run_directory.write_description(directory_, config, start or 0)
        saver = Saver(checkpoints, config)
        evaluated = dataclasses.replace(data, seed=config.seed)
        saving, measuring = train.callbacks(model, directory_, saver, build.evaluators(config), evaluated, data.mesh)
        order = pipeline.Pipeline(data.train, config.train.batch_size, config.seed)
        watch, recent = guard.Guard(config.train.max_skipped, order.indices), list(saver.unlogged(start))
        return _Member(point, model, directory_, saver, saved, start, saving, measuring, ending, recent, watch)
    except Exception as error:
        if ending.__exit__(type(error), error, error.__traceback__):
            return None  # written down
        raise


def _fit(members: list[_Member], data: EvaluationData) -> None:
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
    for member in loop.active:
        member.saver.checkpoints.wait()


@dataclasses.dataclass
class _Loop:
    """The training loop of several points, as training.fit is that of one."""

    members: list[_Member]
    shared: SharedStep
    data: EvaluationData

    def __post_init__(self) -> None:
        self._failed: set[int] = set()
        self._recent: list[Any] = []

    @property
    def active(self) -> Iterator[_Member]:
        """The members that have not failed."""
        return (member for index, member in enumerate(self.members) if index not in self._failed)

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
            if step >= config.num_steps or len(self._failed) == len(self.members) or should_stop(step):
                break
        return state, step

    def stop(self, state: Any, step: int) -> None:
        """Saves all members at a step, with the metrics that no line covers yet."""
        if len(self._failed) == len(self.members):
            return
        fetched = jax.device_get(self._recent)
        for index, member in enumerate(self.members):
            if index not in self._failed:
                recent = [*member.recent, *_rows(fetched, index)]
                member.saver.save(step, self.shared.row(state, index, self.data.mesh), recent)
        num_steps = self.members[0].point.config.train.num_steps
        raise Preempted(
            f"{self.members[0].workdir.parent}: saved at step {step} of {num_steps}; the same command goes on"
        )

    def _log(self, index: int, step: int, state: Any, fetched: list[Any], rates: dict[str, float]) -> None:
        """What training.fit does at a line of metrics, for one member; its error is its own."""
        member = self.members[index]
        if index in self._failed or member.writer is None:
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
            self._failed.add(index)
            member.end(error)


class _Mean:
    """The mean of a loss over points, computed when it is shown."""

    def __init__(self, values: jax.Array):
        self._values = values

    def __float__(self) -> float:
        return float(np.mean(np.asarray(self._values)))


def _rows(fetched: list[dict[str, np.ndarray]], index: int) -> list[dict[str, Any]]:
    return [{name: values[index] for name, values in metrics.items()} for metrics in fetched]
