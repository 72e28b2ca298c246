"""Compiled programs take no more operations, bytes, memory and kernels than stored: guards speed without a clock."""

import importlib.metadata
import json
import os
import platform

import jax
import pytest

from diffax import devices
from experiments.benchmarks import compiled, compiled_gpu

GROWTH = 1.02
ACCEPT = "if that is meant, python -m experiments.benchmarks.compiled stores the new costs"


def why_not_comparable(environment) -> str | None:
    """Why stored costs say nothing about programs compiled here; None if they do."""
    here = {package: importlib.metadata.version(package) for package in compiled.PACKAGES}
    stored = {package: environment["packages"][package] for package in compiled.PACKAGES}
    if here != stored:
        return f"costs are stored for {stored}, and {here} is installed"
    if platform.machine() not in environment["platform"] or platform.system() not in environment["platform"]:
        return f"costs are stored for {environment['platform']}"
    if devices.CPU_FLAG not in os.environ.get("XLA_FLAGS", ""):
        return f"costs are stored with {devices.CPU_FLAG}"
    return None


def grown(costs, stored):
    """What costs more than what is stored, one line each."""
    return [
        f"{program}: {what} grew by {cost / stored[program][what] - 1:.1%}, from {stored[program][what]:,.0f}"
        for program, of_program in costs.items()
        for what, cost in of_program.items()
        if cost > GROWTH * stored[program][what]
    ]


def test_no_program_costs_more_than_stored():
    stored = json.loads(compiled.STORED.read_text())
    if reason := why_not_comparable(stored["environment"]):
        pytest.skip(reason)
    with jax.numpy_dtype_promotion("standard"):  # as in a run: optax counts on it
        costs = compiled.measure()
    assert set(costs) == set(stored["programs"]), ACCEPT
    assert not (lines := grown(costs, stored["programs"])), "\n".join([*lines, ACCEPT])


def test_growth_is_found_and_named():
    stored = {"step": {"FLOP": 100.0, "kernels": 50.0}}
    assert grown({"step": {"FLOP": 102.0, "kernels": 1.0}}, stored) == []
    assert grown({"step": {"FLOP": 103.0, "kernels": 50.0}}, stored) == ["step: FLOP grew by 3.0%, from 100"]


def test_bytes_of_kernels_for_a_gpu_are_what_they_are_given_and_give():
    text = """HloModule jit_f

ENTRY %main (x: bf16[8,4], k: f32[4]) -> f32[8] {
  %x = bf16[8,4]{1,0} parameter(0)
  %k = f32[4]{0} parameter(1)
  %conv = (bf16[8,4]{1,0}, u8[0]{0}) custom-call(%x, %x), custom_call_target="__cudnn$convForward"
  %y = bf16[8,4]{1,0} get-tuple-element(%conv), index=0
  %gemm_fusion_dot.1 = f32[8]{0} fusion(%y, %k), kind=kCustom, calls=%dot
  %sent = f32[8]{0} all-reduce-start(%gemm_fusion_dot.1), to_apply=%add
  %second = (bf16[8,4]{1,0}, u8[0]{0}) custom-call(%y, %x), custom_call_target="__cudnn$convForward"
  %got = f32[8]{0} all-reduce-done(%sent)
  %both = (f32[8]{0}, pred[8]{0}) fusion(%got), kind=kLoop, calls=%fused
  ROOT %z = f32[8]{0} get-tuple-element(%both), index=0
}
"""
    kernels = list(compiled_gpu.kernels(text))
    assert kernels == [
        ("convolutions", 2 * 2 * 8 * 4),
        ("matrix products", 2 * 8 * 4 + 4 * 4 + 4 * 8),
        ("communication", 2 * 4 * 8),
        ("convolutions", 3 * 2 * 8 * 4),
        ("all else", 2 * 4 * 8 + 8),
    ]
    assert compiled_gpu.overlapped(kernels) == (1, 1)
    assert compiled_gpu.overlapped(kernels[:3]) == (0, 1)


def test_kernels_are_operations_outside_of_fusions_and_reducers():
    text = """HloModule jit_f

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%fused (p: f32[4]) -> f32[] {
  %p = f32[4]{0} parameter(0)
  %zero = f32[] constant(0)
  ROOT %r = f32[] reduce(%p, %zero), dimensions={0}, to_apply=%add
}

%body (s: (f32[4], s32[])) -> (f32[4], s32[]) {
  %s = (f32[4]{0}, s32[]) parameter(0)
  %x = f32[4]{0} get-tuple-element(%s), index=0
  %y = f32[4]{0} copy(%x)
  ROOT %t = (f32[4]{0}, s32[]) tuple(%y, %i)
}

ENTRY %main (p: f32[4]) -> f32[] {
  %p = f32[4]{0} parameter(0)
  %w = (f32[4]{0}, s32[]) while(%p), condition=%cond, body=%body
  ROOT %f = f32[] fusion(%p), kind=kLoop, calls=%fused
}
"""
    assert compiled.num_kernels(text) == 3  # copy, while, fusion
