"""What the training loop costs beside the compiled step: python -m experiments.benchmarks.loop

The step of configs/digits_ddpm.py, called in a bare loop and by training.fit with its metrics, progress and data, in
turns, alone on the machine. Then what calling a step costs by itself, with the state of the published network of
configs/cifar_ddpm.py (its parameters, Adam's moments and an average) donated and not: a step that only counts. Writes
loop.json.
"""

import dataclasses
import io
import itertools
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from configs import cifar_ddpm, digits_ddpm
from diffax import build, data, devices, training
from diffax.jobs.model import Model
from diffax.jobs.program import Program
from diffax.reporting.metrics import MetricsWriter
from diffax.reporting.progress import Progress
from experiments import common

HERE = pathlib.Path(__file__).parent
STEPS, ROUNDS, CALLS = 100, 21, 30


def main() -> None:
    arguments = common.arguments(__doc__)
    results = {"digits": digits(), "leaves": leaves()}
    for name, values in results.items():
        print(name, {key: round(value, 5) for key, value in values.items()}, flush=True)
    if not arguments.no_write:
        common.write(HERE / "loop.json", results)


def digits() -> dict[str, float]:
    """Seconds a step, bare and in the loop, and the median over rounds of what the loop adds."""
    config = digits_ddpm.get_config()
    model = Model.build(config)
    program = Program.build(model, build.mesh(config, jax.devices()[:1]))
    bare, looped = [], []
    state = program.init_state()
    for _ in range(ROUNDS + 1):
        state, seconds = timed(lambda state: by_hand(program, state), state)
        bare.append(seconds / STEPS)
        state, seconds = timed(lambda state: by_fit(program, state), state)
        looped.append(seconds / STEPS)
    added = [b / a - 1 for a, b in zip(bare[1:], looped[1:], strict=True)]  # the first round compiles
    return {
        "bare": float(np.median(bare[1:])),
        "loop": float(np.median(looped[1:])),
        "added by the loop": float(np.median(added)),
        "added by the loop, lower quartile": float(np.quantile(added, 0.25)),
        "added by the loop, upper quartile": float(np.quantile(added, 0.75)),
    }


def timed(run: Callable[[Any], Any], state: Any) -> tuple[Any, float]:
    jax.block_until_ready(state)
    begun = time.perf_counter()
    state = jax.block_until_ready(run(state))
    return state, time.perf_counter() - begun


def by_hand(program: Program, state: training.TrainState) -> training.TrainState:
    batches = build.batches(program.model.config, program.model.dataset, int(state.step), program.mesh)
    for batch in itertools.islice(batches, STEPS):
        state, _ = program.step(state, batch)
    return state


def by_fit(program: Program, state: training.TrainState) -> training.TrainState:
    config, start = program.model.config, int(state.step)
    with (
        tempfile.TemporaryDirectory() as workdir,
        MetricsWriter(workdir) as writer,
        Progress(start + STEPS, start_step=start, stream=io.StringIO()) as progress,
    ):
        state, _ = training.fit(
            program.step,
            state,
            build.batches(config, program.model.dataset, start, program.mesh),
            num_steps=start + STEPS,
            log_every=config.train.log_every,
            writer=writer,
            progress=progress,
        )
    return state


def leaves() -> dict[str, float]:
    """Milliseconds of Python that a call with the state of the published network takes."""
    config = cifar_ddpm.get_config()
    images = data.dataset.Dataset(name="image", examples=np.zeros((8, 32, 32, 3), np.uint8), num_levels=256)
    network, numbers = build.network(config, images), build.numbers(config, images)
    shapes = jax.eval_shape(lambda: build.init_state(config, network, images, numbers))

    def count(state: training.TrainState) -> training.TrainState:
        return dataclasses.replace(state, step=state.step + 1)

    found = {"leaves": float(len(jax.tree.leaves(shapes)))}
    for name, donated in (("donated, ms a call", 0), ("not donated, ms a call", None)):
        step = jax.jit(count, donate_argnums=() if donated is None else donated)
        # As many arrays, but small: what is copied where nothing is donated is not of interest.
        state = jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape[:1], np.float32), shapes)
        state = jax.block_until_ready(step(state))
        begun = time.perf_counter()
        for _ in range(CALLS):
            state = step(state)
        jax.block_until_ready(state)
        found[name] = (time.perf_counter() - begun) / CALLS * 1e3
    return found


if __name__ == "__main__":
    devices.configure()
    main()
