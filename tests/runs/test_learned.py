"""A learned schedule in a run: on any mesh of devices, through a checkpoint, and in the trained model."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
RUN = """
import pathlib, sys
import jax
jax.config.update("jax_num_cpu_devices", 4)
import numpy as np
from configs import spiral
from diffax import build_data, build_training, resolve, runs
from diffax.runs import DataDescription, Model, Program
from diffax.runs import directory as run_directory
from diffax.training.checkpoint import Checkpoints

workdir = pathlib.Path(sys.argv[1])
config = resolve.resolve(resolve.override(spiral.get_config(), {
    "model": "tests.tiny:Network", "model.time_input": "log_snr", "mesh.fsdp": "2", "train.batch_size": "8",
    "schedule": "learned", "schedule.num_features": "16", "loss.weighting": "variational",
    "optimizer.warmup_steps": "0",
}.items()))
examples = build_data.dataset(config, "train")
model = Model.build(config, DataDescription.of(config, examples))

def steps(program, state, start, stop):
    batches = build_data.batches(config, examples, start, program.mesh)
    for _ in range(start, stop):
        state, metrics = program.step(state, next(batches))
    assert int(state.step) == stop and np.isfinite(float(metrics["loss"]))
    return state

def learned(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state.learned)]

programs = [Program.build(model, examples, build_training.mesh(config))]
alone = resolve.resolve(resolve.override(config, [("mesh.fsdp", "1")]))
programs.append(Program.build(model, examples, build_training.mesh(alone, jax.devices()[:1])))
four, one = (steps(program, program.init_state(), 0, 2) for program in programs)
for ours, theirs in zip(learned(four), learned(one), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-7)

run_directory.write_description(workdir, config, 0, [])
model.data.write(workdir)
with Checkpoints(run_directory.checkpoints(workdir)) as checkpoints:
    checkpoints.save(2, four.saved())
with Checkpoints(run_directory.checkpoints(workdir)) as checkpoints:
    step, saved = checkpoints.restore_newest(programs[0].state.saved())
trained = runs.open(workdir)
expected = four.learned["parameters"]["schedule"]
for name, value in trained.schedule.parameters.items():
    np.testing.assert_array_equal(value, np.asarray(expected[name]))
assert isinstance(trained.schedule.log_snr(np.float64(0.3)), np.floating)
assert np.abs(trained.schedule.parameters["height"] - model.schedule.parameters["height"]).max() > 1e-3
table, before = trained.model.sampler_table(), model.sampler_table()
assert np.abs(table.b - before.b).max() > 1e-6
assert trained.with_sampler("ddpm").schedule is trained.schedule
assert np.isfinite(trained.sample(jax.random.split(jax.random.key(0), 2), num_steps=3)).all()

uninterrupted = steps(programs[0], four, 2, 3)
resumed = steps(programs[0], programs[0].continued(saved), 2, 3)
for ours, theirs in zip(jax.tree.leaves(uninterrupted.saved()), jax.tree.leaves(resumed.saved()), strict=True):
    if not jax.dtypes.issubdtype(ours.dtype, jax.dtypes.prng_key):
        np.testing.assert_array_equal(ours, theirs)
"""


def test_a_learned_schedule_is_trained_on_a_mesh_saved_and_opened(tmp_path):
    arguments = [sys.executable, "-c", RUN, str(tmp_path)]
    process = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
