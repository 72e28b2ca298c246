"""The cost of the training step on an NVIDIA H100, counted without one: python -m experiments.benchmarks.compiled_gpu

XLA compiles the step of configs/cifar_ddpm.py in bfloat16, without dropout, for a GPU that is only described to it. A
network that waits for memory rather than for arithmetic is judged by the bytes that its kernels read and write. Counted
are these, by kind of kernel, the number of kernels, and temporary memory. A kernel counts all of what it is given, so
one that reads a part of an array counts too much. Which algorithms convolutions and matrix products take, and how long
anything takes, only a GPU tells: experiments.benchmarks.peers.

    --batch 512     images of a step on each GPU
    --gpus 8        a step on so many, which send each other gradients; written to no file

Needs '.[cuda]' and no GPU; a minute on 2 cores. compiled_gpu.json has the counts that this command writes.
"""

import math
import os
import pathlib
import re
from collections.abc import Iterator
from unittest import mock

import jax
import numpy as np
from jax.experimental import topologies

from diffax import build_data, build_training, devices, runs
from experiments import common
from experiments.benchmarks import _cifar_random, compiled

HERE = pathlib.Path(__file__).parent
# What XLA asks of a GPU, in its text form: that of an H100 (SXM) with 80 GB.
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 threads_per_warp: 32
  memory_bandwidth: 3352320000000 device_memory_size: 84942979072 l2_cache_size: 52428800
  threads_per_block_limit: 1024 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  registers_per_block_limit: 65536 registers_per_core_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  driver_version: "13.0.0" runtime_version: "13.0.0" dnn_version: "9.10.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
# An instruction of a program's text form: name, type, operation, operands, and the rest of the line.
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%([\w.-]+) = (\(.*?\)|\S+) ([a-z][\w-]*)\((.*?)\)(?:,|$)(.*)")
_ARRAY = re.compile(r"(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
# Operations that are no kernels.
_FREE = compiled.FREE | {"all-reduce-done"}
COMMUNICATION, CONVOLUTION = "communication", "convolutions"


def main() -> None:
    parser = common.make_parser(__doc__, with_runs=False)
    parser.add_argument("--batch", type=int, default=512, help="images of a step on each GPU")
    parser.add_argument("--gpus", type=int, default=1, help="a step on so many GPUs, written to no file")
    args = parser.parse_args()
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # which asks the driver
    try:
        topology = topologies.get_topology_desc("H100", "cuda", target_config=H100, topology=f"1x1x{args.gpus}")
    except NotImplementedError:
        parser.error("JAX has no CUDA plug-in here: pip install '.[cuda]'")
    program = lowered(args.batch * args.gpus, topology.devices).compile()
    memory = program.memory_analysis()
    assert memory is not None
    in_order = [*kernels(program.as_text())]
    by_kind: dict[str, dict[str, int]] = {}
    for kind, size in [*in_order, *(("all", size) for _, size in in_order)]:
        costs = by_kind.setdefault(kind, {"kernels": 0, "bytes": 0})
        costs["kernels"] += 1
        costs["bytes"] += size
    for kind, costs in sorted(by_kind.items(), key=lambda item: item[1]["bytes"]):
        print(f"{kind:<16}{costs['kernels']:>6} kernels {costs['bytes'] / 1e9:>8.1f} GB")
    print(f"temporary memory {memory.temp_size_in_bytes / 1e9:.2f} GB")
    if args.gpus > 1:
        early, total = overlapped(in_order)
        print(f"{early} of {total} kernels of communication begin before the last convolution")
    elif not args.no_write:
        results = {"batch": args.batch, "kinds": by_kind, "temporary bytes": memory.temp_size_in_bytes}
        common.write(HERE / "compiled_gpu.json", results)


def lowered(batch: int, gpus: list[jax.Device]) -> jax.stages.Lowered:
    """The training step for batches of so many images on described GPUs."""
    path = devices.cache_directory() / "benchmarks" / "images.npy"
    config = _cifar_random.config(path, batch, {"model.dtype": "bfloat16"})
    examples = build_data.dataset(config, "train")
    model = runs.Model.build(config, runs.DataDescription.of(config, examples))
    # Where the code asks for the platform, it means that of the program.
    with mock.patch.object(jax, "default_backend", lambda: "gpu"):
        program = runs.Program.build(model, examples, build_training.mesh(config, gpus))
        return program.lower({"x": jax.ShapeDtypeStruct((batch, 32, 32, 3), np.uint8)})


def kernels(text: str) -> Iterator[tuple[str, int]]:
    """Kind, and bytes read and written, of every kernel of a program in XLA's text form, as scheduled."""
    sizes: dict[str, int] = {}
    for line in text[text.index("\nENTRY") :].splitlines():
        if found := _INSTRUCTION.match(line):
            name, kind, operation, operands, rest = found.groups()
            sizes[name] = _bytes(kind)
            if operation not in _FREE:
                given = set(re.findall(r"%([\w.-]+)", operands))
                yield _kind(name, operation, rest), sizes[name] + sum(sizes[operand] for operand in given)


def overlapped(in_order: list[tuple[str, int]]) -> tuple[int, int]:
    """How many kernels of communication begin before the last convolution, and how many there are."""
    kinds = [kind for kind, _ in in_order]
    last = max(place for place, kind in enumerate(kinds) if kind == CONVOLUTION)
    return kinds[:last].count(COMMUNICATION), kinds.count(COMMUNICATION)


def _kind(name: str, operation: str, rest: str) -> str:
    if operation.startswith(("all-", "reduce-scatter", "collective-")):
        return COMMUNICATION
    if "__cudnn$conv" in rest:
        return CONVOLUTION
    return "matrix products" if "gemm" in name or "__cublas" in rest else "all else"


def _bytes(kind: str) -> int:
    """Bytes of a type: of an array, or of all arrays of a tuple."""
    return sum(
        math.prod(int(side) for side in shape.split(",") if side) * max(int(bits or 8), 8) // 8
        for _, bits, shape in _ARRAY.findall(kind)
    )


if __name__ == "__main__":
    devices.configure()
    main()
