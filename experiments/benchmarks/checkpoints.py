"""The cost of checkpoints in a training run: python -m experiments.benchmarks.checkpoints

Saves the full training state (parameters, Adam's two moments, the EMA) of the 36M-parameter UNet of
configs/cifar_ddpm.py, filled with random numbers. Measures how long a save blocks the loop, how long it continues in
its thread, how much time a loop of 50 ms steps loses by it, and how long a restore takes. A step is 50 ms of waiting,
as for an accelerator. Writes checkpoints.json.
"""

import pathlib
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffax import devices
from diffax.training.checkpoint import Checkpoints
from experiments import common
from experiments.benchmarks import _cifar_state

HERE = pathlib.Path(__file__).parent
STEP_SECONDS, STEPS_BETWEEN, SAVES = 0.050, 1000, 5


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    state = random_state()
    num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    results: dict[str, Any] = {"MB": num_bytes / 1e6, "leaves": len(jax.tree.leaves(state))} | measure(state)
    for what, value in results.items():
        print(f"{what:<50}{', '.join(f'{number:,.4g}' for number in np.atleast_1d(value)):>16}")
    if not args.no_write:
        common.write(HERE / "checkpoints.json", results)


def random_state() -> dict[str, Any]:
    """The content of a checkpoint of configs/cifar_ddpm.py, filled with random numbers."""
    rng = np.random.default_rng(0)

    def random(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        return jnp.asarray(rng.standard_normal(leaf.shape, np.float32), leaf.dtype)

    return jax.tree.map(random, _cifar_state.shapes().saved())


def measure(state: dict[str, Any]) -> dict[str, Any]:
    """Times of saves and a restore, medians over SAVES saves."""
    change = jax.jit(lambda tree: jax.tree.map(lambda x: x, tree), donate_argnums=0)
    blocked, computed, complete, lost = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        with Checkpoints(folder) as checkpoints:
            undisturbed = steps(20)
            for step in range(SAVES + 1):
                begun, used = time.perf_counter(), time.thread_time()
                checkpoints.save(step, state)
                returned, used = time.perf_counter(), time.thread_time() - used
                state = jax.block_until_ready(change(state))  # as the next step does
                # 100 steps take longer than any save, so that its whole effect on the loop is measured.
                late = steps(100) - 5 * undisturbed
                checkpoints.wait()
                if step > 0:  # the first save creates the directory and warms up
                    blocked.append(returned - begun)
                    computed.append(used)
                    lost.append(returned - begun + late)
            for step in range(SAVES + 1, 2 * SAVES + 1):
                begun = time.perf_counter()
                checkpoints.save(step, state)
                checkpoints.wait()
                complete.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        with Checkpoints(folder) as checkpoints:
            restored = checkpoints.restore_newest(state)
            assert restored is not None
            jax.block_until_ready(restored[1])
        restoring = time.perf_counter() - begun
    return {
        "seconds that a save blocks": float(np.median(blocked)),
        "seconds that the quickest and the slowest block": [min(blocked), max(blocked)],
        "of these, seconds of computing": float(np.median(computed)),
        "seconds until it is written": float(np.median(complete)),
        "seconds that a loop of 50 ms steps loses": float(np.median(lost)),
        "share of the time, a save every 1,000 steps": float(np.median(lost)) / (STEPS_BETWEEN * STEP_SECONDS),
        "seconds that a restore takes": restoring,
    }


def steps(count: int) -> float:
    """The seconds that `count` steps take."""
    begun = time.perf_counter()
    for _ in range(count):
        time.sleep(STEP_SECONDS)
    return time.perf_counter() - begun


if __name__ == "__main__":
    devices.configure()
    main()
