"""--mode train: trains a model, or continues from the newest checkpoint in the run directory."""

import argparse
import contextlib
import errno
import itertools
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffax import build, build_data, build_training, data, distributed, evaluation, runs, training
from diffax.data.examples import Examples
from diffax.reporting import images, progress, throughput
from diffax.reporting.metrics import FILENAME, MetricsWriter
from diffax.runs import directory as run_directory
from diffax.runs import fine_tuning, lock, opening, remarks, reports
from diffax.runs.errors import Preempted, UserError, for_people
from diffax.runs.evaluation_data import EvaluationData
from diffax.runs.model import DataDescription, Model
from diffax.runs.program import Program
from diffax.runs.saver import Saver
from diffax.training import preemption
from diffax.training.checkpoint import Checkpoints

_AT_LEAST_ONE = ("batch_size", "num_steps", "log_every", "checkpoint_every", "keep_checkpoints", "max_skipped")


def flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this mode."""
    parser.add_argument(
        "--allow_change", default="", metavar="KEYS", help="settings, separated by commas, that may differ from the run"
    )
    parser.add_argument(
        "--init_from", metavar="RUN", help="start from the averaged parameters of another run, for fine-tuning"
    )


def run(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> None:
    """Trains in workdir up to config.train.num_steps, continuing from the newest checkpoint there.

    Raises:
      UserError: settings that do not go together, or a workdir that is another run's or cannot be written; nothing is
        written then.
      Preempted: SIGTERM or Ctrl-C came; all is saved.
      FloatingPointError: losses or gradients that are not finite, train.max_skipped steps in a row.
    """
    check(config)
    first, allow_change = distributed.is_first(), tuple(filter(None, args.allow_change.split(",")))
    with for_people():
        examples, held_out = build_data.splits(config, report=progress.downloads())
        model = Model.build(config, DataDescription.of(config, examples))
        mesh = build_training.mesh(config)
        program = Program.build(model, examples, mesh)
        model = program.model
        evaluators = build.evaluators(config)
        build.check_loggers(config)
        evaluation_data = EvaluationData.of(config, examples, held_out, mesh)
        # Only where there is no checkpoint yet, from which the run would go on.
        is_new = args.init_from is not None and not run_directory.checkpoints(workdir).exists()
        start_params = fine_tuning.initial_params(model, args.init_from) if is_new else None
    with opened(model, workdir, allow_change) as (checkpoints, before, data_changes):
        state, start = _begin(program, checkpoints, start_params)
        if first:
            if start is not None and before is not None:
                _warn_of_learning_rate(before, config, start)
            model.data.write(workdir)  # before config.json, which makes the directory a run's
            if is_new:
                run_directory.write_start(workdir, args.init_from)
            run_directory.write_description(workdir, config, start or 0, data_changes)
            _report(program, examples, held_out, workdir, start)
            if data_changes:
                print(f"other data than before: {'; '.join(data_changes)}", flush=True)
        saver, step = Saver(checkpoints, config), start or 0
        saving, measuring = callbacks(model, workdir, saver, evaluators, evaluation_data, mesh)
        with failing_to_write(workdir):
            if saver.is_to_measure(start):
                measure(measuring, step, state, config, workdir)
            if step < config.train.num_steps:
                state, step = _fit(program, examples, state, start, workdir, saver, (*saving, *measuring))
        if step >= config.train.num_steps and (
            start is None or start < step or not (workdir / reports.FILENAME).exists()
        ):
            reports.after_training(workdir, opening.live(model, state, step, mesh))
    if step < config.train.num_steps:
        raise Preempted(f"{workdir}: saved at step {step} of {config.train.num_steps}; the same command goes on")
    if first:
        report = workdir / reports.FILENAME
        shown = report if report.exists() else workdir / "samples"
        print(f"{workdir}: done. Look at {shown}; metrics are in {workdir / FILENAME}.", flush=True)


# After these the next checkpoint could not be written either.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@contextlib.contextmanager
def opened(
    model: Model, workdir: pathlib.Path, allow_change: tuple[str, ...] = ()
) -> Iterator[tuple[Checkpoints, ConfigDict | None, list[str]]]:
    """Holds a run directory while the block trains in it: (its checkpoints, its configuration so far, other data).

    Raises:
      UserError: a workdir that is another run's, is in use, or cannot be written; nothing is written then.
    """
    config = model.config
    run_directory.check_writable(workdir)
    with lock.held(workdir) if distributed.is_first() else contextlib.nullcontext():
        run_directory.check_same_run(workdir, config, allow_change)
        data_changes = run_directory.check_same_data(workdir, model.data.fingerprint, allow_change)
        before = run_directory.read_config(workdir)
        # The first process writes only when all have looked.
        distributed.meet("checked")
        paths, keep = run_directory.checkpoints(workdir), config.train.keep_checkpoints
        with Checkpoints(paths, keep, highest_is_best=config.train.best_is == "highest") as checkpoints:
            yield checkpoints, before, data_changes


def check(config: ConfigDict) -> None:
    """Raises UserError for numbers of config.train that are out of range."""
    for name in _AT_LEAST_ONE:
        if config.train[name] < 1:
            raise UserError(f"train.{name} must be >= 1, got {config.train[name]}")
    with for_people():
        training.accumulation.check_divides(config.train.accumulate, config.train.batch_size)
    if config.train.best_is not in ("lowest", "highest"):
        raise UserError(f"train.best_is must be lowest or highest, got {config.train.best_is!r}")
    if config.seed < 0:
        raise UserError(f"seed must be >= 0, got {config.seed}")


def _begin(program: Program, checkpoints: Checkpoints, start_params: Any) -> tuple[training.TrainState, int | None]:
    """The state to train on from, and its step if it is that of a checkpoint; start_params: instead of random ones."""
    with for_people():
        restored = checkpoints.restore_newest(program.state.saved())
    if restored is not None:
        return program.continued(restored[1]), restored[0]
    return program.init_state() if start_params is None else program.started_from(start_params), None


def _warn_of_learning_rate(before: ConfigDict, config: ConfigDict, step: int) -> None:
    """Warns of a learning rate that makes a step where a run is continued under other settings than before."""
    was, now = (
        one.optimizer.learning_rate * float(build_training.learning_rate_shape(one)(jax.numpy.asarray(step)))
        for one in (before, config)
    )
    if was != now:
        changed = [
            line
            for key, line in run_directory.differences(before, config).items()
            if key == "train.num_steps" or key.startswith("optimizer.")
        ]
        warnings.warn(
            f"learning rate at step {step}: {was:.3g} -> {now:.3g} ({'; '.join(changed)}); parameters, optimizer state "
            "and averages go on as they were",
            stacklevel=2,
        )


def _report(program: Program, examples: Examples, held_out: Examples, workdir: pathlib.Path, start: int | None) -> None:
    mesh = program.mesh
    place = "on the device" if build_data.is_on_device(program.model.config, examples) else "from the host"
    where = "from the beginning" if start is None else f"from the checkpoint of step {start}"
    print(f"{workdir}: {program.num_params:,} parameters, {len(examples):,} examples {place}, {where}", flush=True)
    for line in remarks.on(examples, held_out):
        print(line, flush=True)
    if mesh.size > 1:
        shape = " x ".join(f"{name} {size}" for name, size in mesh.shape.items())
        print(f"{mesh.size} devices of {jax.process_count()} processes: {shape}", flush=True)


def callbacks(
    model: Model,
    workdir: pathlib.Path,
    saver: Saver,
    evaluators: dict[str, tuple[int, evaluation.Evaluator]],
    evaluation_data: EvaluationData,
    mesh: Mesh,
) -> tuple[tuple[training.PeriodicCallback, ...], tuple[training.PeriodicCallback, ...]]:
    """What happens between steps: first the callbacks that save averages and checkpoints, then those that measure."""
    config = model.config

    def evaluating(key: str, evaluator: evaluation.Evaluator) -> Any:
        def evaluate(step: int, state: training.TrainState) -> dict[str, Any]:
            at_step = opening.live(model, state, step, mesh)
            metrics, pictures = run_evaluator(key, evaluator, at_step, evaluation_data, workdir)
            saver.measured(step, metrics)
            return metrics | pictures

        return evaluate

    def store_averages(step: int, state: training.TrainState) -> None:
        at_step = opening.live(model, state, step, mesh)
        rules = build_training.averagings(config).values()
        averages = [(rule, at_step.params(index)) for index, rule in enumerate(rules)]
        folder = run_directory.ema_snapshots(workdir)
        training.posthoc.save(folder, step, averages, build_training.snapshot_dtype(config))

    measuring = [training.PeriodicCallback(every, evaluating(key, run)) for key, (every, run) in evaluators.items()]
    for every in sorted({every for every, _ in evaluators.values()}):
        measuring.append(training.PeriodicCallback(every, saver.save_measured))

    def save(step: int, state: training.TrainState) -> None:
        is_measured = any(callback.is_due(step, config.train.num_steps) for callback in measuring)
        (saver.save_before_measuring if is_measured else saver.save)(step, state)

    saving = [training.PeriodicCallback(config.train.checkpoint_every, save)]
    if config.train.snapshot_every:
        # Before the checkpoint, so that a run resumed there lacks none.
        saving.insert(0, training.PeriodicCallback(config.train.snapshot_every, store_averages))
    return tuple(saving), tuple(measuring)


def measure(
    measuring: tuple[training.PeriodicCallback, ...],
    step: int,
    state: training.TrainState,
    config: ConfigDict,
    workdir: pathlib.Path,
) -> None:
    """Measures a step that was saved by a process which died while it measured."""
    due = [callback for callback in measuring if callback.is_due(step, config.train.num_steps)]
    with _writer(config, workdir, step, measure_again=True) as writer:
        training.run_callbacks(due, step, state, writer)


def _writer(config: ConfigDict, workdir: pathlib.Path, step: int, *, measure_again: bool = False) -> MetricsWriter:
    """The metrics writer of a run that goes on from a step, with the loggers of the configuration."""
    first = distributed.is_first()
    loggers = build.loggers(config, workdir, step) if first else {}
    return MetricsWriter(workdir, step, measure_again=measure_again, loggers=loggers, enabled=first)


def run_evaluator(
    key: str,
    evaluator: evaluation.Evaluator,
    model: runs.Trained,
    evaluation_data: EvaluationData,
    workdir: pathlib.Path,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The numbers of an evaluator, and its pictures, which are written to workdir/NAME/STEP.png.

    One that raises is reported by a warning, and what it yielded before counts.
    """
    numbers: dict[str, float] = {}
    pictures: dict[str, np.ndarray] = {}
    try:
        for name, value in evaluator(model.step, model, evaluation_data):
            if not isinstance(value, np.ndarray) or value.ndim == 0:
                numbers[name] = float(value)
            elif distributed.is_first():
                images.save_png(workdir / name / f"{model.step:08d}.png", value)
                pictures[name] = images.picture(value)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise
        message = " ".join(str(error).split())
        warnings.warn(
            f"evaluator {key} at step {model.step}: {type(error).__name__}: {message}; training goes on", stacklevel=2
        )
    return numbers, pictures


def _fit(
    program: Program,
    examples: Examples,
    state: training.TrainState,
    start: int | None,
    workdir: pathlib.Path,
    saver: Saver,
    callbacks: tuple[training.PeriodicCallback, ...],
) -> tuple[training.TrainState, int]:
    """Trains, saves where it was stopped, and returns the state and the step it came to."""
    config, first = program.model.config, distributed.is_first()
    with (
        preemption.watched() as should_stop,
        _writer(config, workdir, start or 0) as writer,
        progress.Progress(config.train.num_steps, start_step=start or 0, enabled=first) as bar,
    ):
        batches = build_data.batches(config, examples, start or 0, program.mesh)
        batch = next(batches)
        (compiled, flops), ceiling = program.compile(batch), program.ceiling()
        state, recent = training.fit(
            program.paced(compiled),
            state,
            itertools.chain([batch], batches),
            num_steps=config.train.num_steps,
            log_every=config.train.log_every,
            writer=writer,
            progress=bar,
            callbacks=callbacks,
            should_stop=should_stop,
            unlogged=saver.unlogged(start),
            max_skipped=config.train.max_skipped,
            rates=lambda speed: throughput.rates(speed, config.train.batch_size, flops, ceiling),
            batch_indices=data.pipeline.Pipeline(examples, config.train.batch_size, config.seed).indices,
        )
        step = int(state.step)
        if step < config.train.num_steps:
            saver.save(step, state, recent)
        saver.checkpoints.wait()
    return state, step


@contextlib.contextmanager
def failing_to_write(workdir: pathlib.Path) -> Iterator[None]:
    """Turns what a full disk and the like raise into a UserError.

    Of several processes a save also fails where another one has died; that is raised as JAX's own error of it.
    """
    try:
        yield
    except OSError as error:
        if distributed.lost_another(error):
            raise jax.errors.JaxRuntimeError(str(error)) from error
        raise UserError(
            f"--workdir {workdir}: {error}; mend that (is the disk full?), and the same command goes on from the last "
            "checkpoint"
        ) from error
