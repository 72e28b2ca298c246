"""The compiled step on a mesh: made once, whether its state is new or a checkpoint's."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
STEPS = """
import jax
jax.config.update("jax_num_cpu_devices", 4)
from configs import digits_ddpm
from diffax import build
from diffax.jobs.model import Model
from diffax.jobs.program import Program

config = digits_ddpm.get_config()
config.model.update(channels=32, channel_multipliers=(1,), num_res_blocks=1, attention_resolutions=())
config.mesh.fsdp = 4
config.train.batch_size, config.optimizer.name = 8, "adam"
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
)
model = Model.build(config)
mesh = build.mesh(config)
program = Program.build(model, mesh)
for continued in (False, True):
    state = program.init_state()
    state = program.continued(state.saved()) if continued else state
    described = lambda tree: [(leaf.shape, leaf.dtype, leaf.sharding) for leaf in jax.tree.leaves(tree)]
    assert described(state) == described(program.state)
    batches = build.batches(config, model.dataset, 0, mesh)
    batch = next(batches)
    assert program.compile(state, batch) > 1e6
    before = len(compiled)
    for _ in range(3):
        state, metrics = program.step(state, batch)
        batch = next(batches)
    assert float(metrics["loss"]) < 10 and int(state.step) == 3
    assert len(compiled) == before > 0, compiled[before:]
print(program.step.lower(state, batch).compile().as_text().count(" collective-permute("))
"""


def test_the_step_is_compiled_once_and_sends_nothing_around_one_at_a_time():
    process = subprocess.run([sys.executable, "-c", STEPS], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) == 0
