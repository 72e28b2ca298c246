"""The same training on every mesh of devices: python -m experiments.benchmarks.scaling

A small UNet on the digits for 20 steps of 16, on 1, 2, 4 and 8 devices of the CPU: the state copied, split or both, and
the 8 devices also as two processes of four. Held against one device: the largest relative difference of any step's loss
and gradient norm. Then the memory that a device needs for the state of CIFAR-10's UNet, from shapes alone. Writes
scaling.json.
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

from configs import cifar_ddpm, digits_ddpm
from diffax import build, data, devices, distributed, sharding
from diffax.jobs.model import Model
from diffax.jobs.program import Program
from experiments import common

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
# (mesh.data, mesh.fsdp)
ONE_PROCESS = [(1, 1), (2, 1), (1, 2), (4, 1), (1, 4), (2, 2), (8, 1), (1, 8), (2, 4), (4, 2)]
TWO_PROCESSES = [(8, 1), (1, 8), (2, 4)]
STEPS, BATCH = 20, 16
Metrics = list[list[float]]


def main() -> None:
    arguments = common.arguments(__doc__)
    found = measure(ONE_PROCESS) | measure(TWO_PROCESSES, processes=2)
    one = np.asarray(found["1 x 1"])
    differences = {name: np.abs(np.asarray(run) / one - 1).max(axis=0).tolist() for name, run in found.items()}
    results: dict[str, Any] = {"largest relative difference of loss and gradient norm": differences}
    results["MB a device: parameters, whole state"] = {
        f"1 x {fsdp}": [round(size / 1e6, 2) for size in state_bytes(fsdp)] for fsdp in (1, 2, 4, 8)
    }
    for what, values in results.items():
        print(what, *(f"  {name:<24}{first:<12.3g}{second:.3g}" for name, (first, second) in values.items()), sep="\n")
    if not arguments.no_write:
        common.write(HERE / "scaling.json", results)


def measure(meshes: list[tuple[int, int]], processes: int = 1, **sizes: Any) -> dict[str, Metrics]:
    """[loss, gradient norm] of every step on every mesh of up to 8 devices, shared evenly by so many processes.

    sizes: entries of config.model, to make the network smaller.
    """
    code = "import sys; from experiments.benchmarks import scaling; scaling.work(*sys.argv[1:])"
    # Optimised programs compute the same, and take three times as long to compile.
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
    """What each process of `measure` does; the first writes to path."""
    jax.config.update("jax_num_cpu_devices", 8 // int(processes))
    if int(processes) > 1:
        distributed.start(coordinator, int(processes), int(process))
    config = digits_ddpm.get_config()
    config.model.update({"channels": 16, "groups": 4} | json.loads(sizes))
    config.optimizer.name, config.train.batch_size = "adam", BATCH
    found = {}
    for config.mesh.data, config.mesh.fsdp in json.loads(meshes):
        mesh = build.mesh(config, jax.devices()[: config.mesh.data * config.mesh.fsdp])
        name = f"{config.mesh.data} x {config.mesh.fsdp}" + (f", {processes} processes" if int(processes) > 1 else "")
        model = Model.build(config)
        program = Program.build(model, mesh)
        state = program.init_state()
        found[name] = []
        for batch in itertools.islice(build.batches(config, model.dataset, 0, mesh), STEPS):
            state, values = program.step(state, batch)
            found[name].append([float(values["loss"]), float(values["grad_norm"])])
    if distributed.is_first():
        pathlib.Path(path).write_text(json.dumps(found))


def state_bytes(fsdp: int) -> tuple[int, int]:
    """What one of fsdp devices holds of configs/cifar_ddpm.py: (parameters, whole state)."""
    config = cifar_ddpm.get_config()
    image = data.dataset.Dataset(name="image", examples=np.zeros((1, 32, 32, 3), np.uint8), num_levels=256)
    module, numbers = build.network(config, image), build.numbers(config, image)
    state = jax.eval_shape(lambda: build.init_state(config, module, image, numbers))
    mesh = AbstractMesh((1, fsdp), (sharding.DATA, sharding.FSDP))

    def local(leaf: jax.ShapeDtypeStruct) -> int:
        return int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize

    sizes = jax.tree.map(local, sharding.placed(mesh, state))
    return sum(jax.tree.leaves(sizes.params)), sum(jax.tree.leaves(sizes))


def free_port() -> int:
    """One that nobody listens on at this moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


if __name__ == "__main__":
    devices.configure()
    main()
