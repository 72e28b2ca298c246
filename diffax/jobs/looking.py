"""What a training run looks at every so often: samples of the averaged parameters, and losses on held-out data."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax

from diffax import build, data, distributed, sharding, training
from diffax.jobs import pictures
from diffax.jobs.model import Sampler
from diffax.jobs.program import Program, gathered
from diffax.jobs.saving import BEST_BY

# Points are cheap to draw and say little by the dozen.
NUM_POINTS = 2048
_MOST_HELD_OUT = 512


def make(
    program: Program, held_out: build.Examples, view: training.View, workdir: pathlib.Path
) -> Callable[[int, training.TrainState], dict[str, Any]]:
    """look(step, state) -> metrics; it writes a picture.

    view: of held-out data, which are not augmented.
    """
    model, mesh = program.model, program.mesh
    config = model.config
    num_samples = config.train.num_images if model.dataset.num_levels else NUM_POINTS
    sampler, labels = Sampler(model, num_samples, mesh), model.labels(num_samples)
    size = min(len(held_out), _MOST_HELD_OUT)
    batch = data.pipeline.Pipeline(held_out, size).batch(0)
    batch = sharding.from_copies(sharding.batch_sharding(mesh, size), batch)
    loss, everywhere = gathered(build.held_out_loss(config, model.module), mesh), sharding.replicated(mesh)
    held_out_loss = jax.jit(training.make_held_out_loss(loss, view=view), out_shardings=everywhere)
    loss_of_bin = jax.jit(training.diagnostics.make_loss_of_bin(loss, view=view), out_shardings=everywhere)
    edges = training.diagnostics.bin_edges(model.numbers, config.train.diagnose_bins)

    def look(step: int, state: training.TrainState) -> dict[str, Any]:
        samples = sampler.draw(state.ema[0], config.seed, num_samples, labels)
        if distributed.is_first():
            folder = workdir / "samples"
            folder.mkdir(exist_ok=True)
            pictures.save(folder / f"{step:08d}.png", samples, model.dataset)
        metrics = {BEST_BY: float(held_out_loss(state, batch))}
        return metrics | training.diagnostics.by_log_snr(loss_of_bin, state, batch, edges)

    return look
