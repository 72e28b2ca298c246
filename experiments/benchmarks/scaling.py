"""Data parallelism and FSDP compared with one device: python -m experiments.benchmarks.scaling

Trains a small UNet on the digits for 20 steps with a batch size of 16 on 1, 2, 4 and 8 CPU devices, by data
parallelism, FSDP and both, and on 8 devices also as two processes of four. Measures the largest relative difference of
loss and gradient norm to one device over all steps. Then computes the memory of the training state of
configs/cifar_ddpm.py per device, from shapes alone. Writes scaling.json.
"""

import itertools
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh

from configs import digits
from diffax import build_data, build_training, devices, distributed, resolve, runs, sharding
from experiments import common
from experiments.benchmarks import _cifar_state

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
# (config.mesh.data, config.mesh.fsdp)
ONE_PROCESS = [(1, 1), (2, 1), (1, 2), (4, 1), (1, 4), (2, 2), (8, 1), (1, 8), (2, 4), (4, 2)]
TWO_PROCESSES = [(8, 1), (1, 8), (2, 4)]
STEPS, BATCH = 20, 16
Metrics = list[list[float]]


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    found = measure(ONE_PROCESS) | measure(TWO_PROCESSES, processes=2)
    one = np.asarray(found["1 x 1"])
    differences = {name: np.abs(np.asarray(run) / one - 1).max(axis=0).tolist() for name, run in found.items()}
    results: dict[str, Any] = {"largest relative difference of loss and gradient norm": differences}
    results["MB a device: parameters, whole state"] = {
        f"1 x {fsdp}": [round(size / 1e6, 2) for size in state_bytes(fsdp)] for fsdp in (1, 2, 4, 8)
    }
    for what, values in results.items():
        print(what, *(f"  {name:<24}{first:<12.3g}{second:.3g}" for name, (first, second) in values.items()), sep="\n")
    if not args.no_write:
        common.write(HERE / "scaling.json", results)


def measure(meshes: list[tuple[int, int]], processes: int = 1, **sizes: Any) -> dict[str, Metrics]:
    """[loss, gradient norm] of every step on every mesh of up to 8 devices, which `processes` processes share evenly.

    sizes: settings of config.model, to make the network smaller.
    """
    code = "import sys; from experiments.benchmarks import scaling; scaling.work(*sys.argv[1:])"
    # Without optimizations programs compute the same and compile in a third of the time.
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    with tempfile.TemporaryDirectory() as folder:
        arguments = [f"127.0.0.1:{free_port()}", str(processes), json.dumps(meshes), json.dumps(sizes)]
        command = [sys.executable, "-c", code, f"{folder}/metrics.json", *arguments]
        running = [subprocess.Popen([*command, str(i)], cwd=ROOT, env=environment) for i in range(processes)]
        codes = [process.wait() for process in running]
        if any(codes):
            raise RuntimeError("a measurement failed; its error is above")
        return json.loads(pathlib.Path(folder, "metrics.json").read_text())


def work(path: str, coordinator: str, processes: str, meshes: str, sizes: str, process: str) -> None:
    """The work of one process of `measure`; the first process writes the metrics to path."""
    jax.config.update("jax_num_cpu_devices", 8 // int(processes))
    if int(processes) > 1:
        distributed.start(coordinator, int(processes), int(process))
    model_settings = {"channels": 16, "groups": 4} | json.loads(sizes)
    overrides = [(f"model.{key}", str(value)) for key, value in model_settings.items()]
    overrides += [("optimizer.name", "adam"), ("optimizer.b2", "0.99"), ("optimizer.max_grad_norm", "1.0")]
    overrides += [("train.batch_size", str(BATCH))]
    found = {}
    for data, fsdp in json.loads(meshes):
        config = resolve.override(digits.get_config(), [*overrides, ("mesh.data", str(data)), ("mesh.fsdp", str(fsdp))])
        config = resolve.resolve(config)
        mesh = build_training.mesh(config, jax.devices()[: data * fsdp])
        name = f"{data} x {fsdp}" + (f", {processes} processes" if int(processes) > 1 else "")
        examples = build_data.dataset(config, "train")
        model = runs.Model.build(config, runs.DataDescription.of(config, examples))
        program = runs.Program.build(model, examples, mesh)
        state = program.init_state()
        found[name] = []
        for batch in itertools.islice(build_data.batches(config, examples, 0, mesh), STEPS):
            state, values = program.step(state, batch)
            found[name].append([float(values["loss"]), float(values["grad_norm"])])
    if distributed.is_first():
        pathlib.Path(path).write_text(json.dumps(found))


def state_bytes(fsdp: int) -> tuple[int, int]:
    """Bytes per device of the state of configs/cifar_ddpm.py on fsdp devices: (parameters, whole state)."""
    mesh = AbstractMesh((1, fsdp), (sharding.DATA, sharding.FSDP))

    def local(leaf: jax.ShapeDtypeStruct) -> int:
        return int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize

    sizes = jax.tree.map(local, sharding.placed(mesh, _cifar_state.shapes()))
    return sum(jax.tree.leaves(sizes.params)), sum(jax.tree.leaves(sizes))


def free_port() -> int:
    """A TCP port that is free at this moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


if __name__ == "__main__":
    devices.configure()
    main()
