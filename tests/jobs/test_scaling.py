"""One run on many devices and in several processes: the same numbers, and an end where a process dies."""

import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from diffax import runs
from diffax.reporting import metrics
from experiments.benchmarks import scaling
from tests.jobs.test_launch import UNEVALUATED

ROOT = pathlib.Path(__file__).parents[2]
POINTS = (
    "--config.model.hidden=64",
    "--config.model.depth=2",
    "--config.train.batch_size=16",
    "--config.train.log_every=1",
    "--config.train.checkpoint_every=5",
    "--config.optimizer.warmup_steps=0",
    "--config.optimizer.decay=constant",
    "--config.sampler.num_steps=2",
    # Told a class and a vector, each dropped by the example's own key.
    "--config.data=tests.told:points",
    "--config.conditions.label.drop=0.3",
    "--config.conditions.place=vector",
    # At times that follow the losses of all examples of a batch.
    "--config.loss.stratified=False",
    "--config.loss.time_density.name=loss_second_moment",
    "--config.loss.time_density.num_steps=4",
    "--config.loss.time_density.history_length=3",
)

# A UNet that attends to token sequences, some of them missing, each dropped by the example's own key.
TOKENS = (
    "--config.data=tests.told:images",
    "--config.conditions.path=tokens",
    "--config.conditions.path.drop=0.3",
    "--config.model.channels=8",
    "--config.model.channel_multipliers=(1,)",
    "--config.model.num_res_blocks=0",
    "--config.model.attention_resolutions=(4,)",
    "--config.model.groups=2",
    "--config.parameterization=edm",
    "--config.loss.stable_targets=False",
    "--config.optimizer=adam",
    "--config.optimizer.decay=constant",
    "--config.optimizer.warmup_steps=0",
    "--config.train.batch_size=8",
    "--config.train.log_every=1",
    *UNEVALUATED,
)


def start(workdir, num_devices, *arguments, base=("--config", "configs/spiral.py", *POINTS)):
    """launch.py in a process with so many devices of its own."""
    command = [sys.executable, "launch.py", *base, "--workdir", workdir]
    return subprocess.Popen(
        [*map(str, command), f"--cpu_devices={num_devices}", *arguments],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def losses(workdir):
    return {line["step"]: (line["loss"], line["grad_norm"]) for line in metrics.read(workdir) if "loss" in line}


def assert_same(workdir, reference, steps):
    found = losses(workdir)
    assert list(found)[: len(steps)] == list(steps)
    np.testing.assert_allclose([found[step] for step in steps], [losses(reference)[step] for step in steps], rtol=1e-5)


@pytest.mark.slow
def test_a_unet_learns_the_same_on_eight_devices():
    found = scaling.measure([(1, 1), (2, 4)], channel_multipliers=(1,), num_res_blocks=0)
    one, eight = (np.asarray(found[name]) for name in ("1 x 1", "2 x 4"))
    assert one.shape == (20, 2) and not np.array_equal(one, eight)  # rounded in another order, that is
    np.testing.assert_allclose(eight, one, rtol=1e-5)


def test_a_run_goes_on_on_other_devices_and_after_a_process_died(command, tmp_path):
    """8 devices, working through a batch in two parts, then 1; or two processes of 2, one of them killed, then 2.

    Evaluators run on the 8 devices.
    """
    spiral = ("--config", ROOT / "configs" / "spiral.py", *POINTS)
    reference, eight, one, two = (tmp_path / name for name in ("reference", "eight", "one", "two"))
    assert command(*spiral, *UNEVALUATED, "--workdir", reference, "--config.train.num_steps=20")[0] == 0

    run = start(eight, 8, "--config.mesh.fsdp=4", "--config.train.num_steps=5", "--config.train.accumulate=2")
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 0 and "8 devices of 1 processes: data 2 x fsdp 4" in said, said
    assert_same(eight, reference, range(1, 6))

    shutil.copytree(eight, one)
    code, out, err = command(*spiral, *UNEVALUATED, "--workdir", one, "--config.train.num_steps=8")
    assert code == 0 and "from the checkpoint of step 5" in out, err
    assert_same(one, reference, range(1, 9))

    shutil.copytree(eight, two)
    address = f"--coordinator=127.0.0.1:{scaling.free_port()}"
    endless = (address, "--num_processes=2", "--config.mesh.fsdp=2", "--config.train.num_steps=1000000", *UNEVALUATED)
    runs = [start(two, 2, *endless, "--config.data.on_device=False", f"--process_id={i}") for i in (0, 1)]
    try:
        deadline = time.monotonic() + 120
        while not (two / "checkpoints" / "10").is_dir() and time.monotonic() < deadline:
            assert all(run.poll() is None for run in runs), [run.communicate()[0] for run in runs]
            time.sleep(0.1)
        runs[1].kill()
        said, _ = runs[0].communicate(timeout=60)
    finally:
        for run in runs:
            run.kill()
            run.wait()
    # Where JAX sees it before the collective fails, it says so itself and aborts.
    assert runs[0].returncode in (4, -6), said
    assert "another process of this run is gone" in said or "another task died" in said, said
    assert list(losses(two))[:10] == list(range(1, 11))

    run = start(two, 2, "--config.mesh.fsdp=1", f"--config.train.num_steps={max(losses(two)) + 3}", *UNEVALUATED)
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 0 and "from the checkpoint of step" in said, said
    seen = range(1, min(20, max(losses(two))) + 1)
    assert_same(two, reference, seen)


def test_devices_and_processes_share_samples(command, tmp_path):
    run = tmp_path / "run"
    spiral = ("--config", ROOT / "configs" / "spiral.py", *POINTS, *UNEVALUATED, "--config.train.num_steps=1")
    assert command(*spiral, "--workdir", run)[0] == 0
    asked = ("--mode=sample", "--num_samples=7", "--batch_size=4", "--sampler=ddpm")
    drawn = []
    both = (f"--coordinator=127.0.0.1:{scaling.free_port()}", "--num_processes=2")
    several_devices = [(3,)]
    two_processes = [(1, *both, f"--process_id={index}") for index in (0, 1)]
    for children in ([], several_devices, two_processes):
        if not children:
            assert command("--workdir", run, *asked)[0] == 0
        processes = [start(run, devices, *asked, *flags) for devices, *flags in children]
        said = [process.communicate(timeout=120)[0] for process in processes]
        assert all(process.returncode == 0 for process in processes), said
        [path] = (run / "generated").iterdir()
        drawn.append(runs.sample_set(path).examples.examples)
        shutil.rmtree(path)
    assert drawn[0].shape == (7, 2)
    for others in drawn[1:]:
        np.testing.assert_allclose(drawn[0], others, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_unet_of_tokens_learns_the_same_in_two_processes_and_resumed(command, tmp_path):
    """Two processes of two devices, sharded parameters, parts of a batch and data from the host; or one device.

    Resumed on one device, to the bit.
    """
    base = ("--config", str(ROOT / "configs" / "digits.py"), *TOKENS)
    for name, num_steps in (("one", 4), ("resumed", 2), ("resumed", 4)):
        code, _, err = command(*base, "--workdir", tmp_path / name, f"--config.train.num_steps={num_steps}")
        assert code == 0, err
    assert losses(tmp_path / "resumed") == losses(tmp_path / "one")
    both = (f"--coordinator=127.0.0.1:{scaling.free_port()}", "--num_processes=2", "--config.mesh.fsdp=2")
    both += ("--config.train.accumulate=2", "--config.data.on_device=False", "--config.train.num_steps=4")
    processes = [start(tmp_path / "two", 2, *both, f"--process_id={index}", base=base) for index in (0, 1)]
    said = [process.communicate(timeout=240)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), said
    assert_same(tmp_path / "two", tmp_path / "one", range(1, 5))


def test_devices_that_are_not_there_are_refused(command, tmp_path):
    spiral = ("--config", ROOT / "configs" / "spiral.py", "--workdir", tmp_path / "run", *POINTS)
    code, _, err = command(*spiral, "--config.mesh.fsdp=3")
    assert code == 2 and "mesh.data x mesh.fsdp must be the 1 devices there are, got the rest x 3" in err
    code, _, err = command(*spiral, "--num_processes=2")
    assert code == 2 and "all three of --coordinator HOST:PORT --num_processes N --process_id I" in err
    assert list(tmp_path.iterdir()) == []
