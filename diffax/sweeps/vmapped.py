"""Points trained together in one compiled program, each in a run directory as if it had been trained alone."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence

import jax

from diffax import build, build_data, sharding
from diffax.data import pipeline
from diffax.jobs import train
from diffax.reporting import progress
from diffax.runs import directory as run_directory
from diffax.runs.errors import InUse, Preempted, UserError, for_people
from diffax.runs.evaluation_data import EvaluationData
from diffax.runs.model import DataDescription, Model
from diffax.runs.saver import Saver
from diffax.sweeps import directory, programs, sequential, shared_loop
from diffax.sweeps.directory import State
from diffax.sweeps.points import Point
from diffax.sweeps.shared_loop import Member
from diffax.sweeps.shared_step import SharedStep
from diffax.training import guard


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
    if build.loss_features(first.config) is not None:
        return list(points)  # each has features and moments of its own
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
    members: list[Member] = []
    try:
        for point in points:
            with contextlib.suppress(InUse):
                member = _begun(workdir, point, models[point.name], data)
                members += [] if member is None else [member]
        for same in programs.groups(members, lambda member: member.start or 0):
            shared_loop.fit(same, data)
    except BaseException as error:
        for member in members:
            member.end(error)
        # What is wrong with all of them is written down as the failure of each.
        if isinstance(error, Preempted) or not isinstance(error, Exception):
            raise
    else:
        for member in members:
            member.end()


def _begun(workdir: pathlib.Path, point: Point, model: Model, data: EvaluationData) -> Member | None:
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
        return Member(point, model, directory_, saver, saved, start, saving, measuring, ending, recent, watch)
    except Exception as error:
        if ending.__exit__(type(error), error, error.__traceback__):
            return None  # written down
        raise
