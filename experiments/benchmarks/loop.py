"""The overhead of the training loop and of the number of arrays: python -m experiments.benchmarks.loop

Calls the training step of configs/digits.py in a bare loop and within training.fit, which adds its metrics, progress
bar and data pipeline, in turns. Then calls a step that only counts and waits 50 ms, as for an accelerator, with the
training state of configs/cifar_ddpm.py packed (all 1-D parameters in one array, diffax/runs/packing.py) and plain, in
turns. Writes loop.json.
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
import jax.numpy as jnp
import numpy as np

from configs import digits
from diffax import build_data, build_training, devices, resolve, runs, training
from diffax.data.examples import Examples
from diffax.reporting.loggers import TensorBoard
from diffax.reporting.metrics import MetricsWriter
from diffax.reporting.progress import Progress
from experiments import common
from experiments.benchmarks import _cifar_state

HERE = pathlib.Path(__file__).parent
STEPS, ROUNDS = 100, 21
# Of the comparison of packed and plain state.
CALLS, WAITING_STEPS, STATE_ROUNDS, STEP_SECONDS = 100, 40, 15, 0.050


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    results = {"digits": loop_overhead(), "leaves": state_overhead()}
    for name, values in results.items():
        print(name, *(f"  {what:<48}{value:>12.5g}" for what, value in values.items()), sep="\n", flush=True)
    if not args.no_write:
        common.write(HERE / "loop.json", results)


def loop_overhead() -> dict[str, float]:
    """Seconds per step of the bare step and of training.fit, and the relative overhead of the latter."""
    config = resolve.resolve(digits.get_config())
    examples = build_data.dataset(config, "train")
    model = runs.Model.build(config, runs.DataDescription.of(config, examples))
    program = runs.Program.build(model, examples, build_training.mesh(config, jax.devices()[:1]))
    bare, looped = [], []
    state = program.init_state()
    for _ in range(ROUNDS + 1):
        state, seconds = timed(lambda state: run_bare(program, examples, state), state)
        bare.append(seconds / STEPS)
        state, seconds = timed(lambda state: run_fit(program, examples, state), state)
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
    """The new state and the seconds until it is computed."""
    jax.block_until_ready(state)
    begun = time.perf_counter()
    state = jax.block_until_ready(run(state))
    return state, time.perf_counter() - begun


def run_bare(program: runs.Program, examples: Examples, state: training.TrainState) -> training.TrainState:
    """STEPS steps in a bare loop."""
    batches = build_data.batches(program.model.config, examples, int(state.step), program.mesh)
    for batch in itertools.islice(batches, STEPS):
        state, _ = program.step(state, batch)
    return state


def run_fit(program: runs.Program, examples: Examples, state: training.TrainState) -> training.TrainState:
    """STEPS steps by training.fit."""
    config, start = program.model.config, int(state.step)
    with (
        tempfile.TemporaryDirectory() as workdir,
        MetricsWriter(workdir, loggers={"tensorboard": TensorBoard(workdir)}) as writer,
        Progress(start + STEPS, start_step=start, stream=io.StringIO()) as progress,
    ):
        state, _ = training.fit(
            program.step,
            state,
            build_data.batches(config, examples, start, program.mesh),
            num_steps=start + STEPS,
            log_every=config.train.log_every,
            writer=writer,
            progress=progress,
        )
    return state


def state_overhead() -> dict[str, float]:
    """The cost of calling a step with the packed and with the plain state of configs/cifar_ddpm.py, donated.

    Milliseconds per call of a step that only counts, and by how many milliseconds the state lengthens a step of 50 ms,
    compared with a state of the step number alone in the same round. On the CPU such a call returns when its step is
    done, so that nothing overlaps. On an accelerator, where calls run ahead of the steps, the second is an upper bound.
    """
    shapes = {name: _cifar_state.shapes(packed=name == "packed") for name in ("packed", "plain")}
    states = {name: small(tree) for name, tree in shapes.items()}
    states["step alone"] = {"step": jnp.zeros((), jnp.int32)}
    calls: dict[str, list[float]] = {name: [] for name in states}
    steps: dict[str, list[float]] = {name: [] for name in states}
    for _ in range(STATE_ROUNDS + 1):
        for name in states:
            states[name], seconds = timed(lambda state: repeated(counted, CALLS, state), states[name])
            calls[name].append(seconds / CALLS * 1e3)
            states[name], seconds = timed(lambda state: repeated(waited, WAITING_STEPS, state), states[name])
            steps[name].append(seconds / WAITING_STEPS * 1e3)
    results: dict[str, float] = {}
    for name, tree in shapes.items():
        added = [ms - alone for ms, alone in zip(steps[name], steps["step alone"], strict=True)]
        results[f"{name}, arrays"] = float(len(jax.tree.leaves(tree)))
        for what, values in (("ms a call", calls[name]), ("ms added to a 50 ms step", added)):
            low, middle, high = np.quantile(values[1:], (0.25, 0.5, 0.75))  # the first round compiles
            results[f"{name}, {what}"] = float(middle)
            results[f"{name}, {what}, lower quartile"] = float(low)
            results[f"{name}, {what}, upper quartile"] = float(high)
    return results


def small(shapes: training.TrainState) -> dict[str, Any]:
    """A state of as many arrays, with little data: only their number matters here."""
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[:1], jnp.float32), shapes)
    fields = {field.name: getattr(zeros, field.name) for field in dataclasses.fields(zeros)}
    return fields | {"step": jnp.zeros((), jnp.int32)}


def repeated(step: Callable[[Any], Any], num_steps: int, state: Any) -> Any:
    """The state after num_steps steps."""
    for _ in range(num_steps):
        state = step(state)
    return state


@jax.jit(donate_argnums=0)
def counted(state: dict[str, Any]) -> dict[str, Any]:
    """A step that counts."""
    return state | {"step": state["step"] + 1}


@jax.jit(donate_argnums=0)
def waited(state: dict[str, Any]) -> dict[str, Any]:
    """A step that waits STEP_SECONDS and counts."""
    return state | {"step": jax.pure_callback(_wait, jax.ShapeDtypeStruct((), jnp.int32), state["step"])}


def _wait(step: np.ndarray) -> np.ndarray:
    time.sleep(STEP_SECONDS)
    return np.asarray(step) + np.int32(1)


if __name__ == "__main__":
    devices.configure()
    main()
