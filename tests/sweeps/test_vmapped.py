"""Points trained in one program: their losses, lines and checkpoints are those of runs of their own."""

import contextlib
import json
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from diffax import config as settings
from diffax import resolve, runs, sweeps
from diffax.runs import reports
from diffax.runs.errors import Preempted
from diffax.sweeps import directory, points, programs, sequential, shared_step, vmapped
from diffax.sweeps.directory import State
from diffax.training import preemption
from tests.sweeps import small

COLUMNS = {
    "seed": [0, 1],
    "optimizer.learning_rate": [0.01, 0.02],
    "ema.constant.decay": [0.9, 0.99],
    "loss.time_density.name": ["logit_normal"] * 2,
    "loss.time_density.mean": [0.0, 0.5],
}
TOLERANCE = 1e-4


def lines(run):
    """What a run measured, without its speed."""
    speeds = ("steps_per_second", "images_per_second", "flops_utilization", "memory_gb")
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in speeds} for line in read]


def assert_same_runs(left, right, names):
    for name in names:
        for ours, theirs in zip(lines(left / name), lines(right / name), strict=True):
            assert ours.keys() == theirs.keys()
            np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=TOLERANCE, atol=TOLERANCE)
        for file in ("config.json", "model.json"):
            assert (left / name / file).read_text() == (right / name / file).read_text()
        saved = [{path.name for path in (folder / name / "checkpoints").iterdir()} for folder in (left, right)]
        assert saved[0] >= saved[1]  # and where it was stopped
        params = [jax.tree.leaves(runs.open(folder / name).params()) for folder in (left, right)]
        for ours, theirs in zip(*params, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


@pytest.fixture(scope="module")
def made():
    """Two points over the small config, at 50 steps."""
    base = small.get_config()
    base.train.update(num_steps=50, log_every=1, checkpoint_every=25)
    base.evaluators.held_out_loss.every = 25
    return points.resolved(base, sweeps.zipped(COLUMNS))


@pytest.fixture(scope="module")
def alone(made, tmp_path_factory):
    """The runs of the points by themselves."""
    folder = tmp_path_factory.mktemp("alone")
    with jax.numpy_dtype_promotion("standard"):
        sequential.run(folder, made)
    return folder


def test_the_losses_of_fifty_steps_are_those_of_runs_alone(made, alone, tmp_path, monkeypatch):
    """By jax.vmap, as on accelerators. A point that diverges beside them fails, and leaves the others as they are."""
    monkeypatch.setattr(shared_step, "in_turn", lambda: False)
    reported: list[str] = []
    monkeypatch.setattr(reports, "after_training", lambda workdir, model: reported.append(workdir.name))
    config = resolve.resolve(resolve.override(made[1].config, [("optimizer.learning_rate", "1e38")]))
    vmapped.run(tmp_path, [made[0], points.Point("diverging", None, (), config), *made[1:]])
    status = directory.status(tmp_path, "diverging")
    assert status.state is State.FAILED and re.search("(loss|grad_norm) is (nan|inf) at step", status.message)
    assert all(directory.status(tmp_path, point.name).state is State.FINISHED for point in made)
    assert len(lines(tmp_path / made[0].name)) == 52
    assert reported == [point.name for point in made]
    assert_same_runs(tmp_path, alone, [point.name for point in made])


def test_stopped_together_they_go_on(made, alone, tmp_path, monkeypatch):
    """In turn, as on CPUs; stopped after step 30, between two checkpoints."""

    @contextlib.contextmanager
    def stopping():
        yield lambda step: step == 30

    with monkeypatch.context() as patch, pytest.raises(Preempted, match="saved at step 30 of 50"):
        patch.setattr(preemption, "watched", stopping)
        vmapped.run(tmp_path, made)
    assert {directory.status(tmp_path, point.name).state for point in made} == {State.STOPPED}
    assert runs.open(tmp_path / made[0].name).step == 30
    directory.reset(tmp_path, [point.name for point in made])
    vmapped.run(tmp_path, made)
    assert_same_runs(tmp_path, alone, [point.name for point in made])


def test_on_a_cpu_convolutions_are_trained_one_after_another(tmp_path, monkeypatch, capsys):
    base = small.get_config()
    base.data.name = "tests.tiny:planes"
    base.model = settings.choice("unet", channels=4, channel_multipliers=(1,), num_res_blocks=0, groups=2)
    base.model.attention_resolutions = ()
    trained = []
    monkeypatch.setattr(sequential, "run", lambda workdir, points, **options: trained.extend(points))
    made = points.resolved(base, sweeps.seeds(2))
    vmapped.run(tmp_path, made)
    assert trained == made and "2 points one after another: on a CPU convolutions" in capsys.readouterr().out


def test_points_share_a_program_if_they_differ_in_its_arguments():
    def key(**overrides):
        changes = [(path.replace("__", "."), text) for path, text in overrides.items()]
        return programs.key(resolve.resolve(resolve.override(small.get_config(), changes)))

    assert key() == key(seed="3") == key(optimizer__learning_rate="0.1") == key(ema__constant__decay="0.5")
    different = [
        key(model__hidden="9"),
        key(train__batch_size="8"),
        key(optimizer__b1="0.8"),
        key(schedule__name="flow"),
    ]
    assert len({key(), *different, key(loss__stratified="True")}) == 6


def test_over_several_devices_the_last_point_fills_up_the_axis(tmp_path):
    """Three points on two CPU devices, in a process that has them, against one device; with batches from the host."""
    script = """
import jax; jax.config.update("jax_num_cpu_devices", 2); jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_disable_most_optimizations", True)
import numpy as np
from diffax import build_data, resolve, runs, sweeps
from diffax.sweeps import points, shared_step
from tests.sweeps import small
base = small.get_config()
base.data.on_device = False
made = points.resolved(base, sweeps.seeds(3))
examples = build_data.dataset(made[0].config, "train")
models = [runs.Model.build(point.config, runs.DataDescription.of(point.config, examples)) for point in made]
def losses(models):
    shared = shared_step.SharedStep(models, examples)
    state, step, found = shared.init(), shared.step(), []
    for _, batch in zip(range(3), shared.batches(0)):
        state, metrics = step(state, batch)
        found.append(np.asarray(metrics["loss"]))
    return shared.mesh.size, np.stack(found)
(size, together), (_, alone) = losses(models), losses(models[2:])
assert size == 2 and together.shape == (3, 4), together.shape
np.testing.assert_allclose(together[:, 2:], np.repeat(alone, 2, axis=1), rtol=1e-5)
print("same")
"""
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True)
    assert done.stdout == "same\n", done.stderr
