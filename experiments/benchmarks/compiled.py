"""The cost of compiled programs, counted and not timed: python -m experiments.benchmarks.compiled

Floating-point operations, bytes accessed, temporary memory, number of kernels and of instructions of the training step
and of a sampler, as XLA's CPU compiler counts them for a small version of configs/cifar_ddpm.py. Compiling and loading
a program take as long as it has instructions. The counts depend on the versions of the packages alone, not on the load
of the machine. A test compares them with compiled.json, which this command writes: run
it to accept a program that costs more, and say why in the commit.
"""

import pathlib
import re
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from configs import cifar_ddpm
from diffax import build_training, data, devices, resolve, runs, samplers
from experiments import common

HERE = pathlib.Path(__file__).parent
STORED = HERE / "compiled.json"
BATCH, STEPS = 4, 10
# What the counts depend on, beside diffax.
PACKAGES = ("jax", "jaxlib", "flax", "optax")
# Costs are counted before LLVM generates code, which is most of the compile time, and these options shorten. With the
# newer emitters of loops (the last option) the bytes differ by 0.03%, and nothing else.
_OPTIONS: Any = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}
_SHAPE = (16, 16, 3)
_SMALLER = {
    "model.channels": 32,
    "model.channel_multipliers": (1, 2),
    "model.num_res_blocks": 1,
    "model.attention_resolutions": (),
    "train.batch_size": BATCH,
}
# A line of a program in XLA's text form that is one; the name of its operation.
_INSTRUCTION = r" = .*?\s([a-z][\w-]*)\("
# Instructions that compute nothing.
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    results = measure()
    print(f"{'':<16}" + "".join(f"{what:>18}" for what in next(iter(results.values()))))
    for name, costs in results.items():
        print(f"{name:<16}" + "".join(f"{cost:>18,.0f}" for cost in costs.values()))
    if not args.no_write:
        common.write(STORED, {"programs": results})


def measure() -> dict[str, dict[str, float]]:
    """The costs of every program, by its name."""
    return {name: costs(lowered) for name, lowered in programs()}


def programs() -> Iterator[tuple[str, jax.stages.Lowered]]:
    """The programs by name, lowered and not yet compiled."""
    overrides = [(name, str(value)) for name, value in _SMALLER.items()]
    config = resolve.resolve(resolve.override(cifar_ddpm.get_config(), overrides))
    images = np.random.default_rng(0).integers(0, 256, (2 * BATCH, *_SHAPE), np.uint8)
    examples = data.dataset.Dataset(name="random", examples=images, num_levels=256)
    model = runs.Model.build(config, runs.DataDescription.of(config, examples))
    yield "training step", _train_step(model, examples)
    yield "DDIM", _sampler(model)


def costs(lowered: jax.stages.Lowered) -> dict[str, float]:
    """What XLA counts in a program."""
    compiled = lowered.compile(_OPTIONS)
    analysis, memory = compiled.cost_analysis(), compiled.memory_analysis()
    text = compiled.as_text()
    assert memory is not None
    return {
        "FLOP": analysis["flops"],
        "bytes accessed": analysis["bytes accessed"],
        "temporary bytes": float(memory.temp_size_in_bytes),
        "kernels": float(num_kernels(text)),
        "instructions": float(len(re.findall(_INSTRUCTION, text))),
    }


def num_kernels(text: str) -> int:
    """The number of kernels of a program in XLA's text form: the operations outside of fusions and reducers."""
    inside = set(re.findall(r"(?:calls|to_apply)=%?([\w.-]+)", text))
    count, counted = 0, False
    for line in text.splitlines():
        if opened := re.match(r"(?:ENTRY )?%?([\w.-]+) .*\{$", line):
            counted = opened[1] not in inside
        elif counted and (found := re.search(_INSTRUCTION, line)):
            count += found[1] not in FREE
    return count


def _train_step(model: runs.Model, examples: data.dataset.Dataset) -> jax.stages.Lowered:
    program = runs.Program.build(model, examples, build_training.mesh(model.config, jax.devices()[:1]))
    batch = {"x": jax.ShapeDtypeStruct((BATCH, *examples.examples.shape[1:]), np.uint8)}
    return program.lower(batch)


def _sampler(model: runs.Model) -> jax.stages.Lowered:
    params = jax.eval_shape(model.init_params, jax.random.key(0))
    table = samplers.ddim(model.schedule, samplers.grids.discrete(1000, STEPS))
    keys = jax.random.split(jax.random.key(0), BATCH)
    x = jax.ShapeDtypeStruct((BATCH, *model.data.sample_shape), np.float32)

    def sample(params: Any, table: samplers.SamplerTable, x: jax.Array, keys: jax.Array) -> jax.Array:
        return samplers.run(keys, model.denoiser(params), table, x)

    return jax.jit(sample).lower(params, table, x, keys)


if __name__ == "__main__":
    devices.configure()
    main()
