"""The overhead of the sampling loop over the network: python -m experiments.benchmarks.samplers

For samplers of every kind, with the untrained network of configs/digits.py: how often the program is traced when
tables, parameters, noise and keys change; the time per evaluation relative to that of the jitted network called in a
Python loop, in turns; and the memory of the compiled program for 10, 100 and 1,000 rows. Writes samplers.json.
"""

import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import digits
from diffax import build_data, devices, resolve, runs, samplers
from experiments import common

HERE = pathlib.Path(__file__).parent
BATCH, STEPS, ROUNDS = 64, 50, 9
METHODS: dict[str, Callable] = {
    "DDIM": samplers.ddim,
    "DDPM": samplers.ddpm,
    "Heun (EDM)": samplers.edm,
    "Adams 3": lambda schedule, times: samplers.adams(schedule, times, order=3),
    "DPM-Solver++ 2M": samplers.dpm_solver_multistep,
    "SDE-DPM-Solver++ 2M": lambda schedule, times: samplers.dpm_solver_multistep(schedule, times, tau=1.0),
    "UniPC 3": lambda schedule, times: samplers.unipc(schedule, times, order=3),
    "SA-Solver": samplers.sa_solver,
    "PNDM": samplers.pndm,
}


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    devices.enable_compilation_cache()
    config = resolve.resolve(resolve.override(digits.get_config(), [("sampler.epsilon_scale", "1.0")]))
    model = runs.Model.build(config, runs.DataDescription.of(config, build_data.dataset(config, "train")))
    results: dict[str, Any] = {"batch": BATCH, "steps": STEPS}
    print(f"{'':<22}{'traces':>8}{'time / network':>16}{'spread':>16}{'MB with 10 rows':>18}{'100':>8}{'1,000':>8}")
    for name, method in METHODS.items():
        found = results[name] = measure(model, method)
        low, high = found["quartiles"]
        memory = "".join(f"{m:>{width}.2f}" for m, width in zip(found["megabytes"], (18, 8, 8), strict=True))
        spread = f"{low:.2f} to {high:.2f}"
        print(f"{name:<22}{found['traces']:>8}{found['time / network']:>16.3f}{spread:>16}{memory}", flush=True)
    if not args.no_write:
        common.write(HERE / "samplers.json", results)


def measure(model: runs.Model, method: Callable) -> dict[str, Any]:
    """Traces, time and memory of one sampler."""
    params = model.init_params(jax.random.key(model.config.seed))
    keys = jax.random.split(jax.random.key(0), BATCH)
    x = jax.random.normal(jax.random.key(1), (BATCH, *model.data.sample_shape))
    network = jax.jit(model.network)
    t, traces = jnp.full(BATCH, 0.5), 0

    def sample(table, params, x, keys):
        nonlocal traces
        traces += 1
        return samplers.run(keys, model.denoiser(params), table, x)

    def make_table(rows: int, start: float = 0.98, end: float = 0.02) -> samplers.SamplerTable:
        return method(model.schedule, samplers.grids.log_snr(model.schedule, rows, start=start, end=end))

    def network_alone() -> jax.Array:
        return [network(params, x, t) for _ in range(table.num_evaluations)][-1]

    table, program = make_table(STEPS), jax.jit(sample)
    program(table, params, x, keys)
    changed = jax.tree.map(lambda leaf: 0.9 * leaf, params)
    program(make_table(STEPS, 0.97, 0.03), changed, -x, keys[::-1]).block_until_ready()
    after_two_calls = traces
    seconds(network_alone)
    ratios = [seconds(lambda: program(table, params, x, keys)) / seconds(network_alone) for _ in range(ROUNDS)]
    low, middle, high = (float(value) for value in np.percentile(ratios, (25, 50, 75)))
    compiled = [jax.jit(sample).lower(make_table(rows), params, x, keys).compile() for rows in (10, 100, 1000)]
    memory = [program.memory_analysis().temp_size_in_bytes / 1e6 for program in compiled]
    return {"traces": after_two_calls, "time / network": middle, "quartiles": [low, high], "megabytes": memory}


def seconds(call: Callable[[], jax.Array]) -> float:
    """The seconds until the result of a call is computed."""
    begun = time.perf_counter()
    call().block_until_ready()
    return time.perf_counter() - begun


if __name__ == "__main__":
    devices.configure()
    main()
