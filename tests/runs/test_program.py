"""The compiled step on a mesh: made once, whether its state is new or a checkpoint's."""

import pathlib
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import spiral
from diffax import build_data, build_training, resolve
from diffax.runs import DataDescription, Model, kept, program

ROOT = pathlib.Path(__file__).parents[2]
STEPS = """
import jax
jax.config.update("jax_num_cpu_devices", 4)
from configs import digits
from diffax import build_data, build_training, resolve
from diffax.runs import DataDescription, Model, Program

config = resolve.resolve(resolve.override(digits.get_config(), {
    "model.channels": "32", "model.channel_multipliers": "(1,)", "mesh.fsdp": "4", "train.batch_size": "8",
    "optimizer.name": "adam", "optimizer.b2": "0.99", "optimizer.max_grad_norm": "1.0",
}.items()))
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
)
examples = build_data.dataset(config, "train")
model = Model.build(config, DataDescription.of(config, examples))
mesh = build_training.mesh(config)
program = Program.build(model, examples, mesh)
for continued in (False, True):
    state = program.init_state()
    state = program.continued(state.saved()) if continued else state
    described = lambda tree: [(leaf.shape, leaf.dtype, leaf.sharding) for leaf in jax.tree.leaves(tree)]
    assert described(state) == described(program.state)
    batches = build_data.batches(config, examples, 0, mesh)
    batch = next(batches)
    step, flops = program.compile(batch)
    assert flops > 1e6
    before = len(compiled)
    for _ in range(3):
        state, metrics = step(state, batch)
        batch = next(batches)
    assert float(metrics["loss"]) < 10 and int(state.step) == 3
    assert len(compiled) == before > 0, compiled[before:]
print(program.lower(batch).compile().as_text().count(" collective-permute("))
"""


def test_the_step_is_compiled_once_and_sends_nothing_around_one_at_a_time():
    process = subprocess.run([sys.executable, "-c", STEPS], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) == 0


def test_configurations_of_one_network_share_the_program_that_draws_its_parameters(monkeypatch, empty_cache):
    compiled, plain = [], kept.program

    def noted(parts, devices, lower, compile_):
        parts = list(parts)
        return plain(parts, devices, lower, lambda lowered: compiled.append(parts[0]) or compile_(lowered))

    monkeypatch.setattr(kept, "program", noted)
    states = []
    for optimizer, seed in (("adam", 1), ("muon", 1), ("adam", 2)):
        changes = {"model.hidden": 8, "model.depth": 1, "optimizer.name": optimizer, "seed": seed}
        config = resolve.resolve(resolve.override(spiral.get_config(), [(key, str(of)) for key, of in changes.items()]))
        examples = build_data.dataset(config, "train")
        model = Model.build(config, DataDescription.of(config, examples))
        states.append(program.Program.build(model, examples, build_training.mesh(config)).init_state())
    assert compiled == ["parameters", "init", "init"]
    # Parameters that were read by one program and donated to the next are still those that were drawn.
    first, second, third = (jax.tree.leaves(state.params) for state in states)
    assert all(map(np.array_equal, first, second)) and not all(map(np.array_equal, first, third))
    assert all(map(np.array_equal, first, jax.tree.leaves(states[0].ema[0])))


@pytest.mark.parametrize(("threshold", "waits"), [(1, True), (10**9, False)])
def test_a_step_with_large_temporaries_is_done_when_it_returns(monkeypatch, threshold, waits):
    """The next one would allocate its own beside them."""
    monkeypatch.setattr(program, "_LARGE", threshold)
    state, batch = jnp.zeros(()), 2 * jnp.eye(400)
    compiled = jax.jit(lambda state, batch: (state + 1, jnp.linalg.inv(batch).sum())).lower(state, batch).compile()
    assert 1 < compiled.memory_analysis().temp_size_in_bytes < 10**9
    given_back = []
    monkeypatch.setattr(program.allocator, "give_back", lambda: given_back.append(None))
    monkeypatch.setattr(program.allocator, "resident", lambda: 10**9)
    on_cpu = types.SimpleNamespace(_devices=jax.devices("cpu"))
    step = program.Program.paced(on_cpu, compiled)
    assert (step is not compiled) == waits
    for number in range(1, program._UNSETTLED + 3):
        state, metric = step(state, batch)
        assert metric.is_ready() or not waits
        assert float(state) == number and float(metric) == 200
    assert len(given_back) == program._UNSETTLED * waits
    on_gpu = types.SimpleNamespace(_devices=[types.SimpleNamespace(platform="gpu")])
    assert program.Program.paced(on_gpu, compiled) is compiled


def test_what_is_free_is_given_back_where_the_process_grew_by_another_place_for_temporaries(monkeypatch):
    """Once where it stays grown: then what came is in use."""
    monkeypatch.setattr(program, "_LARGE", 1)
    monkeypatch.setattr(program, "_UNSETTLED", 1)
    compiled = jax.jit(lambda state, batch: (state + 1, jnp.linalg.inv(batch).sum()))
    compiled = compiled.lower(jnp.zeros(()), 2 * jnp.eye(400)).compile()
    temporaries, given_back = compiled.memory_analysis().temp_size_in_bytes, []
    # Resident memory before each step beyond 1 GB, in temporaries.
    beyond = [-1, 0, 0.4, -0.1, 0.3, 0.9, 0, 1, 1, 1.4]
    asked = []

    def resident():
        asked.append(10**9 + beyond[len(asked)] * temporaries)
        return asked[-1]

    monkeypatch.setattr(program.allocator, "give_back", lambda: given_back.append(len(asked) - 1))
    monkeypatch.setattr(program.allocator, "resident", resident)
    step, state = program.Program.paced(types.SimpleNamespace(_devices=jax.devices("cpu")), compiled), jnp.zeros(())
    for _ in beyond:
        state, _ = step(state, 2 * jnp.eye(400))
    assert given_back == [0, 5, 7]


@pytest.mark.parametrize(("threshold", "forgotten"), [(1, True), (10**9, False)])
def test_the_trace_of_a_step_with_large_temporaries_is_not_kept(monkeypatch, threshold, forgotten):
    monkeypatch.setattr(program, "_LARGE", threshold)
    traced = []

    @jax.jit
    def step(batch):
        traced.append(None)
        return jnp.linalg.inv(batch).sum()

    batch = 2 * jnp.eye(400)
    on_cpu = types.SimpleNamespace(_devices=jax.devices("cpu"), flops=lambda lowered: 1.0)
    compiled, flops = program.Program._compiled(on_cpu, step.lower(batch))
    assert float(compiled(batch)) == 200 and flops == 1.0
    step.lower(batch)
    assert len(traced) == 1 + forgotten


@pytest.mark.parametrize(
    ("devices", "count"),
    [([("cpu", 0, 0), ("cpu", 1, 0)], 1), ([("cpu", 0, 0), ("cpu", 1, 1)], 2), ([("gpu", 0, 0), ("gpu", 1, 0)], 2)],
)
def test_the_cpu_devices_of_a_process_share_its_cores(monkeypatch, devices, count):
    monkeypatch.setattr(program.throughput, "matmul_flops", lambda dtype: 1e11)
    names = ("platform", "id", "process_index")
    model = types.SimpleNamespace(config=types.SimpleNamespace(model={}))
    made = [types.SimpleNamespace(**dict(zip(names, device, strict=True))) for device in devices]
    assert program.Program.ceiling(types.SimpleNamespace(model=model, _devices=made)) == count * 1e11
