"""A run stopped, hindered or damaged, and continued by the same command, is the run that was left alone."""

import contextlib
import errno
import json
import math
import os
import pathlib
import shutil
import signal

import pytest

from diffax import config, resolve
from diffax.jobs import train as train_job
from diffax.runs import lock, program
from diffax.training import manifest, preemption
from experiments.torture import killing

SPIRAL = pathlib.Path(__file__).parents[2] / "configs" / "spiral.py"
# Steps 4, 8 and 12 are saved, 6 and 12 measured and saved if they are the best, and lines are written at 5 and 10 too.
SMALL = (
    "--config.model.hidden=8",
    "--config.model.depth=1",
    "--config.train.batch_size=4",
    "--config.train.num_steps=12",
    "--config.train.log_every=5",
    "--config.train.checkpoint_every=4",
    "--config.evaluators.samples.every=6",
    "--config.evaluators.held_out_loss.every=6",
    "--config.optimizer.warmup_steps=3",
    "--config.sampler.num_steps=2",
)


def train(command, run, *more):
    return command("--config", SPIRAL, "--workdir", run, *SMALL, *more)


def assert_same_run(left, right):
    assert killing.differences(left, right, 12) == []
    pictures = [sorted((path.name, path.read_bytes()) for path in (run / "samples").iterdir()) for run in (left, right)]
    assert pictures[0] == pictures[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return tmp_path_factory.mktemp("finished") / "run"


@pytest.fixture
def undisturbed(command, finished, tmp_path):
    """A run that nothing happened to, to do things to."""
    if not finished.exists():
        code, _, err = train(command, finished)
        assert code == 0, err
    shutil.copytree(finished, tmp_path / "undisturbed")
    return tmp_path / "undisturbed"


def stop_after(monkeypatch, *steps):
    """Has a real SIGTERM arrive during each of these steps."""
    watched = preemption.watched

    @contextlib.contextmanager
    def watching():
        with watched() as should_stop:

            def stops(step):
                if step in steps:
                    os.kill(os.getpid(), signal.SIGTERM)
                    while not should_stop(step):
                        pass
                return should_stop(step)

            yield stops

    monkeypatch.setattr(preemption, "watched", watching)


def test_stopped_between_lines_and_continued_it_is_the_same_run(command, tmp_path, undisturbed, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(patch, 3, 5, 8)
        for step in (3, 5, 8):
            code, out, err = train(command, run)
            assert code == 75 and "done" not in out
            said = [line for line in err.splitlines() if not line.startswith("train: ")]
            assert said == [
                "SIGTERM: stopping after this step and a checkpoint; once more stops at once",
                f"stopped: {run}: saved at step {step} of 12; the same command goes on",
            ]
    code, out, err = train(command, run)
    assert code == 0 and "from the checkpoint of step 8" in out, err
    assert_same_run(run, undisturbed)
    assert not (run / "changes.jsonl").exists()


def test_a_stop_in_the_last_step_is_the_end(command, tmp_path, monkeypatch):
    stop_after(monkeypatch, 12)
    code, out, _ = train(command, tmp_path / "run")
    assert code == 0 and "done" in out


def test_a_finished_run_compiles_no_step(command, undisturbed, finished, monkeypatch):
    monkeypatch.delattr(program.Program, "compile")
    code, out, _ = train(command, undisturbed)
    assert code == 0 and "from the checkpoint of step 12" in out and "done" in out
    assert_same_run(undisturbed, finished)


def test_a_checkpoint_tells_of_its_run(undisturbed):
    said = json.loads((undisturbed / "checkpoints" / "12" / "description.json").read_text())
    assert said["config"] == json.loads((undisturbed / "config.json").read_text())
    measured = {line["step"]: line["held_out_loss"] for line in killing.lines(undisturbed) if "held_out_loss" in line}
    assert said["metric"] == measured[12]


def test_a_full_disk_stops_with_one_line_and_the_run_goes_on_later(command, tmp_path, undisturbed, monkeypatch):
    run, write, from_host = tmp_path / "run", manifest.write, "--config.data.on_device=False"

    def full(directory):
        if directory.name.startswith("8."):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(directory)

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write", full)
        code, _, err = train(command, run, from_host)
    assert code == 2
    [said] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "checkpoint of step 8 could not be written" in said and "No space left on device" in said
    assert "the same command goes on" in said and "Traceback" not in err
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["4", "6"]
    code, out, _ = train(command, run, from_host)
    assert code == 0 and "from the checkpoint of step 6" in out
    assert_same_run(run, undisturbed)


def test_a_damaged_checkpoint_is_named_and_the_run_goes_on_from_the_one_before(command, undisturbed, finished):
    (undisturbed / "checkpoints" / "12" / "state" / "_METADATA").unlink()
    with pytest.warns(UserWarning, match="checkpoints/12 is damaged .*_METADATA is missing.*back to that of step 8"):
        code, out, _ = train(command, undisturbed)
    assert code == 0 and "from the checkpoint of step 8" in out
    assert killing.differences(undisturbed, finished, 12) == []
    for path in (undisturbed / "checkpoints").iterdir():
        (path / "manifest.json").unlink()
    before = sorted(undisturbed.rglob("*"))
    for arguments in ((), ("--mode=sample",)):
        code, _, err = train(command, undisturbed, *arguments)
        assert code == 2 and err.startswith("error: no checkpoint can be used") and err.count("\n") == 1
    assert sorted(undisturbed.rglob("*")) == before


def test_the_best_is_kept_with_the_newest(command, tmp_path):
    run = tmp_path / "run"
    often = (
        "--config.evaluators.samples.every=3",
        "--config.evaluators.held_out_loss.every=3",
        "--config.train.keep_checkpoints=1",
    )
    # So high a learning rate that the loss rises after the first steps.
    assert (
        train(command, run, *often, "--config.optimizer.learning_rate=0.5", "--config.ema.constant.decay=0.5")[0] == 0
    )
    measured = {line["step"]: line["held_out_loss"] for line in killing.lines(run) if "held_out_loss" in line}
    assert sorted(measured) == [3, 6, 9, 12]
    best = min(measured, key=measured.get)
    assert {int(path.name) for path in (run / "checkpoints").iterdir()} == {best, 12} and best != 12


def test_a_second_training_is_refused_and_a_reader_is_not(command, tmp_path, undisturbed):
    before = sorted(undisturbed.rglob("*"))
    with lock.held(undisturbed):
        code, out, err = train(command, undisturbed)
        assert code == 2 and out == "" and err.count("\n") == 1
        assert f"error: --workdir {undisturbed} is in use by process {os.getpid()} on " in err
        code, _, err = train(command, undisturbed, "--mode=sample", "--num_samples=2")
        assert code == 0, err
    assert [path for path in sorted(undisturbed.rglob("*")) if "generated" not in path.parts] == before


def test_a_lock_left_behind_bars_nobody(command, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / lock.FILENAME).write_text("process 1 on elsewhere since long ago\n")
    assert train(command, tmp_path / "run")[0] == 0


def test_everything_but_a_list_identifies_a_run():
    """A setting that nobody has thought about is protected: it is not in the list."""
    settings = resolve.flat(resolve.resolve(config.default()))
    free = {key for key in settings if any(key == name or key.startswith(f"{name}.") for name in config.FREE)}
    assert all(any(key == name or key.startswith(f"{name}.") for key in settings) for name in config.FREE)
    protected = set(settings) - free
    for name in ("seed", "data.name", "model.channels", "loss.stratified", "optimizer.b2", "ema.constant.decay"):
        assert name in protected
    assert "train.batch_size" in protected and "data.on_corrupt" in protected


def test_another_number_of_steps_under_a_decay_has_to_be_named(command, undisturbed):
    """The cosine of 12 steps ends at 0; that of 24 steps, with 3 of warm-up, is at 9 / 21 of its way at step 12."""
    before = {path: path.read_bytes() for path in undisturbed.rglob("*") if path.is_file()}
    longer = "--config.train.num_steps=24"
    code, _, err = train(command, undisturbed, longer)
    assert code == 2 and err.count("\n") == 1
    assert "train.num_steps: 12 -> 24 moves the end of the learning rate's cosine decay" in err
    assert "--allow_change=train.num_steps continues so" in err
    assert {path: path.read_bytes() for path in undisturbed.rglob("*") if path.is_file()} == before
    # Sampling does not depend on it.
    assert train(command, undisturbed, longer, "--mode=sample", "--num_samples=2")[0] == 0
    rate = 0.002 * (1 + math.cos(math.pi * 9 / 21)) / 2
    said = f"learning rate at step 12: 0 -> {rate:.3g} .train.num_steps: 12 -> 24.; parameters, .* go on as they were"
    with pytest.warns(UserWarning, match=said):
        code, out, err = train(command, undisturbed, longer, "--allow_change=train.num_steps")
    assert code == 0 and "from the checkpoint of step 12" in out, err


@pytest.mark.parametrize("index", [0, 1])
def test_killed_while_it_measures_a_step_it_is_measured_again(command, tmp_path, undisturbed, monkeypatch, index):
    """The checkpoint of a step is written before anything is measured at it; it dies in either of the evaluators."""
    run, evaluate, seen = tmp_path / "run", train_job.run_evaluator, []
    description = run / "checkpoints" / "12" / "description.json"

    def dying(key, evaluator, model, *rest):
        result = evaluate(key, evaluator, model, *rest)
        seen.extend([key] if model.step == 12 else [])
        if len(seen) == index + 1:
            raise Killed
        return result

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(train_job, "run_evaluator", dying)
        train(command, run)
    assert len(seen) == index + 1 and json.loads(description.read_text())["to_measure"]
    for _ in range(2):
        code, out, err = train(command, run)
        assert code == 0 and "from the checkpoint of step 12" in out, err
        assert not json.loads(description.read_text())["to_measure"]
        assert killing.complete_steps(run) == killing.complete_steps(undisturbed)
        assert_same_run(run, undisturbed)


class Killed(BaseException):
    """The end of a process."""


def test_what_may_change_does_and_is_written_down(command, tmp_path, undisturbed):
    free = (
        "--config.train.keep_checkpoints=2",
        "--config.train.checkpoint_every=3",
        "--config.train.log_every=2",
        "--config.data.on_device=False",
        "--config.sampler.num_steps=3",
        "--config.train.num_steps=13",
    )
    code, _, err = train(command, undisturbed, *free, "--allow_change=train.num_steps")
    assert code == 0, err
    recorded = json.loads((undisturbed / "changes.jsonl").read_text())
    assert recorded["step"] == 12
    assert set(recorded["changes"]) == {
        "train.keep_checkpoints: 3 -> 2",
        "train.checkpoint_every: 4 -> 3",
        "train.log_every: 5 -> 2",
        "data.on_device: None -> False",
        "sampler.num_steps: 2 -> 3",
        "train.num_steps: 12 -> 13",
    }


def test_killed_before_the_first_checkpoint_it_begins_anew_and_no_line_is_there_twice(command, undisturbed, finished):
    shutil.rmtree(undisturbed / "checkpoints")
    code, out, _ = train(command, undisturbed)
    assert code == 0 and "from the beginning" in out
    assert_same_run(undisturbed, finished)
