"""--mode train: from a config, or the newest checkpoint, to a trained model."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffax import build, data, distributed, sharding, training
from diffax.jobs import pictures, run_directory, run_lock
from diffax.jobs.errors import Preempted, UserError, for_people
from diffax.jobs.model import Model, Sampler
from diffax.jobs.saving import BEST_BY, Saver
from diffax.reporting.metrics import MetricsWriter
from diffax.reporting.progress import Progress
from diffax.training import preemption
from diffax.training.checkpoint import Checkpoints

# Points are cheap to draw and say little by the dozen.
NUM_POINTS = 2048


def run(config: ConfigDict, workdir: pathlib.Path, *, allow_change: tuple[str, ...] = ()) -> None:
    """Trains config in workdir up to config.train.num_steps, continuing from the newest checkpoint there.

    Raises:
      UserError: a config that cannot be, or a workdir that is another run's or cannot be written; nothing is written.
      Preempted: SIGTERM or Ctrl-C came; all is saved.
      FloatingPointError: a loss or gradient that is not finite.
    """
    _check(config)
    model = Model.build(config)
    with for_people():
        resident = build.is_resident(config, model.dataset)
        plain = build.view(config, model.dataset, augment=False)
        held_out = build.dataset(config, "test")
        mesh = build.mesh(config)
    first = distributed.is_first()
    run_directory.check_writable(workdir)
    with run_lock.held(workdir) if first else contextlib.nullcontext():
        run_directory.check_same_run(workdir, config, allow_change)
        # The first process writes only when all have looked.
        distributed.meet("checked")
        with for_people():
            state, train_step = prepared(model, mesh)
        with Checkpoints(run_directory.checkpoints(workdir), config.train.keep_checkpoints) as checkpoints:
            state, start = _begin(state, checkpoints)
            if first:
                run_directory.write_description(workdir, config, start or 0)
            num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
            where = "from the beginning" if start is None else f"from the checkpoint of step {start}"
            place = "on the device" if resident else "from the host"
            if first:
                what = f"{num_params:,} parameters, {len(model.dataset):,} examples {place}"
                print(f"{workdir}: {what}, {where}", flush=True)
                _say_replaced(model.dataset)
                _say_devices(mesh)

            loss = training.make_held_out_loss(build.held_out_loss(config, model.module), view=plain)
            saver = Saver(checkpoints, config)
            look = _look_at(model, held_out, loss, workdir, saver, mesh)
            # Saved last, when all lines of a step are written: a run resumed at a checkpoint lacks none.
            every = (
                training.Every(config.train.sample_every, look),
                training.Every(config.train.sample_every, saver.save_if_best),
                training.Every(config.train.checkpoint_every, saver.save),
            )
            with (
                preemption.watched() as should_stop,
                MetricsWriter(workdir, start or 0, enabled=first) as writer,
                Progress(config.train.num_steps, start_step=start or 0, enabled=first) as progress,
                _failing_to_write(workdir),
            ):
                state, recent = training.fit(
                    train_step,
                    state,
                    build.batches(config, model.dataset, start or 0, mesh),
                    num_steps=config.train.num_steps,
                    log_every=config.train.log_every,
                    writer=writer,
                    progress=progress,
                    every=every,
                    should_stop=should_stop,
                    unlogged=saver.unlogged(start),
                )
                step = int(state.step)
                if step < config.train.num_steps:
                    saver.save(step, state, recent)
                checkpoints.wait()
    if step < config.train.num_steps:
        raise Preempted(f"{workdir}: saved at step {step} of {config.train.num_steps}; the same command goes on")
    if first:
        metrics = workdir / "metrics.jsonl"
        print(f"{workdir}: done. Look at {workdir / 'samples'}; metrics are in {metrics}.", flush=True)


def prepared(model: Model, mesh: Mesh) -> tuple[training.TrainState, Callable[..., Any]]:
    """(state before training, compiled step): the state on the devices of the mesh, where the step leaves it."""
    config = model.config
    view = build.sharded(build.view(config, model.dataset), mesh)
    shape = build.learning_rate_shape(config)
    step = training.make_train_step(model.loss, build.optimizer(config), shape, view=view)
    placed = sharding.state_shardings(mesh, jax.eval_shape(model.init_state))
    # Drawn once: optimising the program that draws parameters takes longer than training's first hundred steps. Drawn
    # where it stays: a state that is split need not fit on one device, and one that moved would have the step compiled
    # twice.
    options = {"xla_backend_optimization_level": 0}
    state = jax.jit(model.init_state, out_shardings=placed, compiler_options=options)()
    return state, jax.jit(step, donate_argnums=0, out_shardings=(placed, sharding.replicated(mesh)))


def _begin(state: training.TrainState, checkpoints: Checkpoints) -> tuple[training.TrainState, int | None]:
    """The state to train on from, where the one before training is, and its step if it is that of a checkpoint."""
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
    every = ("log_every", "sample_every", "checkpoint_every")
    for name in ("batch_size", "num_steps", *every, "keep_checkpoints", "num_images"):
        if config.train[name] < 1:
            raise UserError(f"train.{name} must be >= 1, got {config.train[name]}")
    if config.seed < 0:
        raise UserError(f"seed must be >= 0, got {config.seed}")


def _say_replaced(examples: build.Examples) -> None:
    if isinstance(examples, data.dataset.Dataset) and examples.num_replaced:
        print(f"{examples.name}: {examples.num_replaced} examples could not be read; the next good one stands in")


def _say_devices(mesh: Mesh) -> None:
    if mesh.size > 1:
        shape = " x ".join(f"{name} {size}" for name, size in mesh.shape.items())
        print(f"{mesh.size} devices of {jax.process_count()} processes: {shape}", flush=True)


def _look_at(model: Model, held_out: build.Examples, loss, workdir: pathlib.Path, saver: Saver, mesh: Mesh):
    """The action that draws samples of the averaged parameters and measures their loss on held-out data."""
    num_samples = model.config.train.num_images if model.dataset.num_levels else NUM_POINTS
    sampler = Sampler(model, num_samples, mesh)
    labels = model.labels(num_samples)
    size = min(len(held_out), 512)
    batch = data.pipeline.Pipeline(held_out, size).batch(0)
    batch = sharding.from_copies(sharding.batch_sharding(mesh, size), batch)
    held_out_loss = jax.jit(loss, out_shardings=sharding.replicated(mesh))

    def look(step: int, state: training.TrainState) -> dict[str, Any]:
        samples = sampler.draw(state.ema, model.config.seed, num_samples, labels)
        if distributed.is_first():
            folder = workdir / "samples"
            folder.mkdir(exist_ok=True)
            pictures.save(folder / f"{step:08d}.png", samples, model.dataset)
        metrics = {BEST_BY: float(held_out_loss(state, batch))}
        saver.measured(step, metrics)
        return metrics

    return look
