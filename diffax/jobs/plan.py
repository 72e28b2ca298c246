"""--mode plan: parameters, memory, operations and time of a run, from its compiled step and without training."""

import argparse
import dataclasses
import math
import os
import pathlib
import statistics
import time
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffax import build_data, build_training, resolve, sharding
from diffax.data.examples import Examples
from diffax.jobs import train
from diffax.reporting import metrics, progress
from diffax.reporting.progress import duration
from diffax.runs import kept
from diffax.runs.errors import for_people
from diffax.runs.model import DataDescription, Model
from diffax.runs.program import Program

# Of the speed of matrix products; until a run has measured its own.
GUESSED_UTILIZATION = 0.4


@dataclasses.dataclass(frozen=True)
class Plan:
    """Bytes are those of one device; flops those of a step on all devices. None where it is not known."""

    num_params: int
    state_bytes: int
    flops: float | None
    compile_seconds: float
    peak_bytes: int
    limit_bytes: int | None
    largest_batch: int | None
    advice: str
    seconds_left: float | None


def flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this mode."""
    parser.add_argument("--memory_gb", type=float, help="plan for a device of that memory, instead of this one")


def run(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> Plan:
    """Prints a plan of training config: parameters, operations, memory, the largest batch that fits, and the time.

    Raises:
      UserError: settings that do not go together.
    """
    return plan(config, workdir, memory_gb=args.memory_gb)


@dataclasses.dataclass(frozen=True)
class Planned:
    """What a step is compiled from."""

    model: Model
    examples: Examples
    mesh: Mesh


def plan(config: ConfigDict, workdir: pathlib.Path, *, memory_gb: float | None = None) -> Plan:
    """The plan that `run` prints; memory_gb: of a device, where that is another one than the one this runs on."""
    with for_people():
        config = resolve.resolve(config)
    train.check(config)
    with for_people():
        examples = build_data.dataset(config, "train", report=progress.downloads())
        planned = Planned(
            Model.build(config, DataDescription.of(config, examples)), examples, build_training.mesh(config)
        )
        mesh = planned.mesh
        with progress.Progress(2, description="plan", unit="programs", seconds_between_lines=5.0) as bar:
            program, lowered = _lowered(planned, config.train.batch_size, config.train.accumulate)
            begun = time.perf_counter()
            compiled = _compiled(lowered)
            seconds = time.perf_counter() - begun
            bar.update(1)
        limit, data_bytes = _memory() if memory_gb is None else int(memory_gb * 1e9), _data_bytes(config, examples)
        peak, flops = _peak(compiled), program.flops(lowered)
        largest, advice = None, ""
        if limit is not None:
            an_example, room = _bytes_an_example(planned, peak), limit - data_bytes
            unit = mesh.size * config.train.accumulate
            if an_example > 0:
                largest = max(math.floor((config.train.batch_size + (room - peak) / an_example) / unit) * unit, 0)
            if peak > room:
                advice = _advice(planned, peak, an_example, room)
    result = Plan(
        num_params=program.num_params,
        state_bytes=_state_bytes(program),
        flops=flops,
        compile_seconds=seconds,
        peak_bytes=peak + data_bytes,
        limit_bytes=limit,
        largest_batch=largest,
        advice=advice,
        seconds_left=None,
    )
    share, measured, done = _utilization(workdir)
    ceiling = program.ceiling()
    if flops is not None:
        left = max(config.train.num_steps - done, 0)
        result = dataclasses.replace(result, seconds_left=left * flops / (share * ceiling))
    _print(result, config, mesh, share, ceiling, measured)
    return result


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of training: parameters, and an estimate of seconds, None where operations are not known."""

    num_params: int
    seconds: float | None


def cost(config: ConfigDict, ceiling: float | None = None) -> Cost:
    """The cost of training config from its traced step, which is not compiled.

    Args:
      ceiling: operations per second of matrix products on all devices; None to measure it.

    Raises:
      UserError: settings that do not go together.
    """
    train.check(config)
    with for_people():
        examples = build_data.dataset(config, "train", report=progress.downloads())
        model = Model.build(config, DataDescription.of(config, examples))
        program, lowered = _lowered(
            Planned(model, examples, build_training.mesh(config)), config.train.batch_size, config.train.accumulate
        )
    flops = program.flops(lowered)
    if flops is None:
        return Cost(program.num_params, None)
    ceiling = program.ceiling() if ceiling is None else ceiling
    return Cost(program.num_params, config.train.num_steps * flops / (GUESSED_UTILIZATION * ceiling))


def _lowered(planned: Planned, batch_size: int, accumulate: int) -> tuple[Program, jax.stages.Lowered]:
    """The step for such batches, traced on shapes alone."""
    config = ConfigDict(planned.model.config.to_dict())
    config.train.update(batch_size=batch_size, accumulate=accumulate)
    model, examples = dataclasses.replace(planned.model, config=resolve.resolve(config)), planned.examples
    program = Program.build(model, examples, planned.mesh)
    parts = sharding.batch_sharding(program.mesh)
    batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch_size, *leaf.shape[1:]), leaf.dtype, sharding=parts),
        examples.batch(np.zeros(1, np.int64)),
    )
    return program, program.lower(batch)


def _peak_of(planned: Planned, batch_size: int, accumulate: int) -> int:
    """The peak of the step for such batches."""
    return _peak(_compiled(_lowered(planned, batch_size, accumulate)[1]))


def _compiled(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """The program, compiled even if it was before: a plan says how long that takes."""
    with kept.without_cache():
        return lowered.compile()


def _peak(compiled: jax.stages.Compiled) -> int:
    """Bytes of a device while the step runs: what it is given and gives, once where it is the same, and in between."""
    memory: Any = compiled.memory_analysis()
    given = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return int(given + memory.temp_size_in_bytes)


def _bytes_an_example(planned: Planned, peak: int) -> float:
    """By how much memory grows with the batch, from a second one; peak: of the config's own."""
    train = planned.model.config.train
    size, parts = train.batch_size, train.accumulate
    unit = planned.mesh.size * parts
    other = max(size // 2 // unit, 1) * unit
    other = 2 * size if other == size else other
    return (peak - _peak_of(planned, other, parts)) / (size - other)


def _advice(planned: Planned, peak: int, an_example: float, limit: int) -> str:
    """What to set so that the batch fits, tried by compiling it."""
    config, mesh = planned.model.config, planned.mesh
    size, accumulate = config.train.batch_size, config.train.accumulate
    parts = [n for n in range(accumulate + 1, size // mesh.size + 1) if size % (n * mesh.size) == 0]
    promised = [n for n in parts if peak - an_example * size * (1 - accumulate / n) <= limit]
    for n in promised[:3]:
        peak_in_parts = _peak_of(planned, size, n)
        if peak_in_parts <= limit:
            return f"--config.train.accumulate={n} takes {_gb(peak_in_parts)}, with the same batch and draws"
    remat = "" if config.model.get("remat", "blocks") == "blocks" else " --config.model.remat=blocks,"
    return f"no number of parts fits:{remat} more devices under --config.mesh.fsdp, or a smaller network"


def _state_bytes(program: Program) -> int:
    """Of parameters, moments and averages on one device."""
    leaves = jax.tree.leaves(program.state)
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)


def _data_bytes(config: ConfigDict, examples: Examples) -> int:
    """Of a data set that is kept on the device."""
    if not build_data.is_on_device(config, examples):
        return 0
    return len(examples) * math.prod(examples.shape) * (4 if examples.num_levels is None else 1)


def _memory() -> int | None:
    """Of a device, or of this machine where its processor is the device."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    names = getattr(os, "sysconf_names", {})
    if jax.default_backend() != "cpu" or "SC_PHYS_PAGES" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // jax.local_device_count()


def _utilization(workdir: pathlib.Path) -> tuple[float, bool, int]:
    """(share of the ceiling, whether a run in workdir measured it, steps that it has done)."""
    if not (workdir / metrics.FILENAME).exists():
        return GUESSED_UTILIZATION, False, 0
    lines = metrics.read(workdir)
    shares = [line["flops_utilization"] for line in lines if line.get("flops_utilization")]
    done = max((line["step"] for line in lines), default=0)
    return (statistics.median(shares), True, done) if shares else (GUESSED_UTILIZATION, False, done)


def _print(plan: Plan, config: ConfigDict, mesh: Mesh, share: float, ceiling: float, measured: bool) -> None:
    state = f"{_gb(plan.state_bytes)} of parameters, moments and averages on each of {mesh.size} device(s)"
    print(f"network  {plan.num_params:,} parameters; {state}")
    work = "" if plan.flops is None else f"{plan.flops / 1e9:,.1f} GFLOP, "
    print(f"step     a batch of {config.train.batch_size}: {work}compiled in {plan.compile_seconds:.1f} s")
    fits = "" if plan.limit_bytes is None else f" of {_gb(plan.limit_bytes)}: "
    fits += "" if plan.limit_bytes is None else "fits" if plan.peak_bytes <= plan.limit_bytes else "does not fit"
    largest = "" if plan.largest_batch is None else f"; the largest batch that fits is about {plan.largest_batch:,}"
    print(f"memory   {_gb(plan.peak_bytes)} a device{fits}{largest}")
    if plan.advice:
        print(f"advice   {plan.advice}")
    if plan.seconds_left is not None:
        basis = "measured in this run" if measured else "a guess until a run has measured its share"
        print(
            f"time     {duration(plan.seconds_left)} to step {config.train.num_steps:,}, at {share:.0%} of "
            f"{ceiling / 1e9:,.0f} GFLOP/s of matrix products ({basis})",
            flush=True,
        )


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.3g} GB"
