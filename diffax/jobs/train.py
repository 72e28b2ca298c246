"""--mode train: from a config, or the newest checkpoint, to a trained model."""

import contextlib
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from diffax import build, data, training
from diffax.jobs import pictures, run_directory, run_lock
from diffax.jobs.errors import Preempted, UserError, for_people
from diffax.jobs.model import Model, Sampler
from diffax.jobs.saving import BEST_BY, Saver
from diffax.reporting import throughput
from diffax.reporting.metrics import MetricsWriter
from diffax.reporting.progress import Progress
from diffax.training import preemption
from diffax.training.checkpoint import Checkpoints

# Points are cheap to draw and say little by the dozen.
NUM_POINTS = 2048
_INTERVALS = ("log_every", "sample_every", "checkpoint_every")


def run(config: ConfigDict, workdir: pathlib.Path, *, allow_change: tuple[str, ...] = ()) -> None:
    """Trains config in workdir up to config.train.num_steps, continuing from the newest checkpoint there.

    Raises:
      UserError: a config that cannot be, or a workdir that is another run's or cannot be written; nothing is written.
      Preempted: SIGTERM or Ctrl-C came; all is saved.
      FloatingPointError: losses or gradients that are not finite, train.max_skipped steps in a row.
    """
    _check(config)
    model = Model.build(config)
    with for_people():
        resident = build.is_resident(config, model.dataset)
        augmented, plain = (build.view(config, model.dataset, augment=augment) for augment in (True, False))
        shape = build.learning_rate_shape(config)
        held_out = build.dataset(config, "test")
    run_directory.check_writable(workdir)
    with run_lock.held(workdir) if jax.process_index() == 0 else contextlib.nullcontext():
        run_directory.check_same_run(workdir, config, allow_change)
        with Checkpoints(run_directory.checkpoints(workdir), config.train.keep_checkpoints) as checkpoints:
            state, start = _begin(model, checkpoints)
            stride = config.train.steps_per_dispatch
            with for_people():
                training.check_multiples(stride, **{"the step of the newest checkpoint": start or 0})
            if jax.process_index() == 0:
                run_directory.write_description(workdir, config, start or 0)
            num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
            where = "from the beginning" if start is None else f"from the checkpoint of step {start}"
            place = "on the device" if resident else "from the host"
            print(f"{workdir}: {num_params:,} parameters, {len(model.dataset):,} examples {place}, {where}", flush=True)
            _say_replaced(model.dataset)

            loss = build.held_out_loss(config, model.module)
            train_step = training.make_train_step(
                model.loss, build.optimizer(config), shape, view=augmented, accumulate=config.train.accumulate
            )
            if stride > 1:
                train_step = training.several_steps(train_step, stride)
            saver = Saver(checkpoints, config)
            look = _look_at(model, held_out, loss, plain, workdir, saver)
            # Saved last, when all lines of a step are written: a run resumed at a checkpoint lacks none.
            every: tuple[training.Every, ...] = (
                training.Every(config.train.sample_every, look),
                training.Every(config.train.sample_every, saver.save_if_best),
                training.Every(config.train.checkpoint_every, saver.save),
            )
            if config.ema.snapshot_every:
                every = (training.Every(config.ema.snapshot_every, _store_averages(config, workdir)), *every)
            with (
                preemption.watched() as should_stop,
                MetricsWriter(workdir, start or 0) as writer,
                Progress(config.train.num_steps, start_step=start or 0) as progress,
                _failing_to_write(workdir),
            ):
                step, batches = jax.jit(train_step, donate_argnums=0), build.batches(config, model.dataset, start or 0)
                first = next(batches)
                state, recent = training.fit(
                    step,
                    state,
                    itertools.chain([first], batches),
                    num_steps=config.train.num_steps,
                    log_every=config.train.log_every,
                    writer=writer,
                    progress=progress,
                    every=every,
                    should_stop=should_stop,
                    unlogged=saver.unlogged(start),
                    max_skipped=config.train.max_skipped,
                    steps_per_dispatch=stride,
                    rates=_throughput(config, step.lower(state, first)),
                    batch_indices=data.pipeline.Pipeline(model.dataset, config.train.batch_size, config.seed).indices,
                )
                end = int(state.step)
                if end < config.train.num_steps:
                    saver.save(end, state, recent)
                checkpoints.wait()
    if end < config.train.num_steps:
        raise Preempted(f"{workdir}: saved at step {end} of {config.train.num_steps}; the same command goes on")
    print(f"{workdir}: done. Look at {workdir / 'samples'}; metrics are in {workdir / 'metrics.jsonl'}.", flush=True)


def _begin(model: Model, checkpoints: Checkpoints) -> tuple[training.TrainState, int | None]:
    """The state to train on from, and its step if it is that of a checkpoint."""
    # Drawn once: optimising the program that draws parameters takes longer than training's first hundred steps.
    state = jax.jit(model.init_state, compiler_options={"xla_backend_optimization_level": 0})()
    # Committed to its device like a restored state: else the first step after a resume compiles twice.
    state = jax.device_put(state, jax.devices()[0])
    with for_people():
        restored = checkpoints.restore_newest(state.saved())
    return (state, None) if restored is None else (state.with_saved(restored[1]), restored[0])


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


def _check(config: ConfigDict) -> None:
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


def _say_replaced(examples: build.Examples) -> None:
    if isinstance(examples, data.dataset.Dataset) and examples.num_replaced:
        print(f"{examples.name}: {examples.num_replaced} examples could not be read; the next good one stands in")


def _store_averages(config: ConfigDict, workdir: pathlib.Path):
    def store(step: int, state: training.TrainState) -> None:
        training.posthoc.save(run_directory.ema_snapshots(workdir), state, build.snapshot_dtype(config))

    return store


def _throughput(config: ConfigDict, lowered: Any) -> throughput.Throughput:
    """What is written of a run's speed; lowered: its step, before it is compiled."""
    flops, unrolled = throughput.flops(lowered), training.accumulation.unrolled()
    if flops is not None:
        # A loop's body is counted once.
        flops *= 1 / config.train.steps_per_dispatch if unrolled else config.train.accumulate
    return throughput.Throughput(config.train.batch_size, flops, throughput.matmul_flops(build.compute_dtype(config)))


def _look_at(
    model: Model, held_out: build.Examples, loss: training.BatchLoss, view: training.View, workdir, saver: Saver
):
    """The action that draws samples of the averaged parameters and measures their loss on held-out data."""
    num_samples = model.config.train.num_images if model.dataset.num_levels else NUM_POINTS
    sampler = Sampler(model, num_samples)
    labels = model.labels(num_samples)
    batch = data.pipeline.Pipeline(held_out, min(len(held_out), 512)).batch(0)
    held_out_loss = jax.jit(training.make_held_out_loss(loss, view=view))
    loss_of_bin = jax.jit(training.diagnostics.make_loss_of_bin(loss, view=view))
    num_bins = model.config.train.diagnose_bins
    edges = training.diagnostics.bin_edges(model.numbers, num_bins)

    def look(step: int, state: training.TrainState) -> dict[str, Any]:
        samples = sampler.draw(state.ema[0], model.config.seed, num_samples, labels)
        folder = workdir / "samples"
        folder.mkdir(exist_ok=True)
        pictures.save(folder / f"{step:08d}.png", samples, model.dataset)
        metrics = {BEST_BY: float(held_out_loss(state, batch))}
        saver.measured(step, metrics)
        return metrics | training.diagnostics.by_log_snr(loss_of_bin, state, batch, edges)

    return look
