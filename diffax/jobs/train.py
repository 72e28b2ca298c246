"""--mode train: from a config, or the newest checkpoint, to a trained model."""

import contextlib
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from diffax import build, data, distributed, training
from diffax.jobs import looking, run_directory, run_lock
from diffax.jobs.errors import Preempted, UserError, for_people
from diffax.jobs.model import Model
from diffax.jobs.program import Program
from diffax.jobs.saving import Saver
from diffax.reporting import throughput
from diffax.reporting.metrics import MetricsWriter
from diffax.reporting.progress import Progress
from diffax.training import preemption
from diffax.training.checkpoint import Checkpoints

_INTERVALS = ("log_every", "sample_every", "checkpoint_every")


def run(config: ConfigDict, workdir: pathlib.Path, *, allow_change: tuple[str, ...] = ()) -> None:
    """Trains config in workdir up to config.train.num_steps, continuing from the newest checkpoint there.

    Raises:
      UserError: a config that cannot be, or a workdir that is another run's or cannot be written; nothing is written.
      Preempted: SIGTERM or Ctrl-C came; all is saved.
      FloatingPointError: losses or gradients that are not finite, train.max_skipped steps in a row.
    """
    check(config)
    model, first = Model.build(config), distributed.is_first()
    with for_people():
        held_out, plain = build.dataset(config, "test"), build.view(config, model.dataset, augment=False)
        program = Program.build(model, build.mesh(config))
    run_directory.check_writable(workdir)
    with run_lock.held(workdir) if first else contextlib.nullcontext():
        run_directory.check_same_run(workdir, config, allow_change)
        # The first process writes only when all have looked.
        distributed.meet("checked")
        with Checkpoints(run_directory.checkpoints(workdir), config.train.keep_checkpoints) as checkpoints:
            state, start = _begin(program, checkpoints)
            if first:
                run_directory.write_description(workdir, config, start or 0)
                _say_what(program, workdir, start)
            saver, step = Saver(checkpoints, config), start or 0
            every = _every(config, workdir, saver, looking.make(program, held_out, plain, workdir))
            if step < config.train.num_steps:
                with _failing_to_write(workdir):
                    step = _fit(program, state, start, workdir, saver, every)
    if step < config.train.num_steps:
        raise Preempted(f"{workdir}: saved at step {step} of {config.train.num_steps}; the same command goes on")
    if first:
        metrics = workdir / "metrics.jsonl"
        print(f"{workdir}: done. Look at {workdir / 'samples'}; metrics are in {metrics}.", flush=True)


def check(config: ConfigDict) -> None:
    """Raises UserError for numbers of config.train that cannot be."""
    for name in ("batch_size", "num_steps", *_INTERVALS, "keep_checkpoints", "num_images", "max_skipped"):
        if config.train[name] < 1:
            raise UserError(f"train.{name} must be >= 1, got {config.train[name]}")
    with for_people():
        training.accumulation.check_divides(config.train.accumulate, config.train.batch_size)
        intervals = {f"train.{name}": config.train[name] for name in ("num_steps", *_INTERVALS)}
        intervals["ema.snapshot_every"] = config.ema.snapshot_every
        training.check_multiples(config.train.steps_per_dispatch, **intervals)
    if config.train.diagnose_bins < 0:
        raise UserError(f"train.diagnose_bins must be >= 0, got {config.train.diagnose_bins}")
    if config.seed < 0:
        raise UserError(f"seed must be >= 0, got {config.seed}")


def _begin(program: Program, checkpoints: Checkpoints) -> tuple[training.TrainState, int | None]:
    """The state to train on from, and its step if it is that of a checkpoint."""
    with for_people():
        restored = checkpoints.restore_newest(program.state.saved())
        if restored is None:
            return program.init_state(), None
        step, saved = restored
        stride = program.model.config.train.steps_per_dispatch
        training.check_multiples(stride, **{"the step of the newest checkpoint": step})
    return program.continued(saved), step


def _say_what(program: Program, workdir: pathlib.Path, start: int | None) -> None:
    dataset, mesh = program.model.dataset, program.mesh
    place = "on the device" if build.is_resident(program.model.config, dataset) else "from the host"
    where = "from the beginning" if start is None else f"from the checkpoint of step {start}"
    print(f"{workdir}: {program.model.num_params:,} parameters, {len(dataset):,} examples {place}, {where}", flush=True)
    if isinstance(dataset, data.dataset.Dataset) and dataset.num_replaced:
        print(f"{dataset.name}: {dataset.num_replaced} examples could not be read; the next good one stands in")
    if mesh.size > 1:
        shape = " x ".join(f"{name} {size}" for name, size in mesh.shape.items())
        print(f"{mesh.size} devices of {jax.process_count()} processes: {shape}", flush=True)


def _every(config: ConfigDict, workdir: pathlib.Path, saver: Saver, look: Any) -> tuple[training.Every, ...]:
    """What happens between steps."""

    def measure(step: int, state: training.TrainState) -> dict[str, Any]:
        metrics = look(step, state)
        saver.measured(step, metrics)
        return metrics

    def store_averages(step: int, state: training.TrainState) -> None:
        training.posthoc.save(run_directory.ema_snapshots(workdir), state, build.snapshot_dtype(config))

    # Saved last, when all lines of a step are written: a run resumed at a checkpoint lacks none.
    every = (
        training.Every(config.train.sample_every, measure),
        training.Every(config.train.sample_every, saver.save_if_best),
        training.Every(config.train.checkpoint_every, saver.save),
    )
    snapshots = config.ema.snapshot_every
    return (training.Every(snapshots, store_averages), *every) if snapshots else every


def _fit(
    program: Program,
    state: training.TrainState,
    start: int | None,
    workdir: pathlib.Path,
    saver: Saver,
    every: tuple[training.Every, ...],
) -> int:
    """Trains, saves where it was stopped, and returns the step it came to."""
    config, dataset, first = program.model.config, program.model.dataset, distributed.is_first()
    with (
        preemption.watched() as should_stop,
        MetricsWriter(workdir, start or 0, enabled=first) as writer,
        Progress(config.train.num_steps, start_step=start or 0, enabled=first) as progress,
    ):
        batches = build.batches(config, dataset, start or 0, program.mesh)
        batch = next(batches)
        flops, ceiling = program.compile(state, batch), program.ceiling()
        state, recent = training.fit(
            program.step,
            state,
            itertools.chain([batch], batches),
            num_steps=config.train.num_steps,
            log_every=config.train.log_every,
            writer=writer,
            progress=progress,
            every=every,
            should_stop=should_stop,
            unlogged=saver.unlogged(start),
            max_skipped=config.train.max_skipped,
            steps_per_dispatch=config.train.steps_per_dispatch,
            rates=lambda speed: throughput.rates(speed, config.train.batch_size, flops, ceiling),
            batch_indices=data.pipeline.Pipeline(dataset, config.train.batch_size, config.seed).indices,
        )
        step = int(state.step)
        if step < config.train.num_steps:
            saver.save(step, state, recent)
        saver.checkpoints.wait()
    return step


@contextlib.contextmanager
def _failing_to_write(workdir: pathlib.Path) -> Iterator[None]:
    """Turns what a full disk and the like raise into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"--workdir {workdir}: {error}; mend that (is the disk full?), and the same command goes on from the last "
            "checkpoint"
        ) from error
