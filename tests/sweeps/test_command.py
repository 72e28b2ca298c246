"""A sweep by its command: resumed, extended, refused, summed up; points in turn, by workers, by SLURM, as commands."""

import json
import pathlib
import shlex
import subprocess
import sys

import numpy as np
import pytest

from diffax import runs
from diffax.sweeps import workers
from tests.sweeps.conftest import CONFIG

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def children(monkeypatch):
    """What child processes need to run like this one."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    monkeypatch.setattr(sys, "argv", [str(ROOT / "launch.py")])


def states(folder):
    summary = json.loads((folder / "summary.json").read_text())
    return {record["name"].rpartition("-")[0]: record["state"] for record in summary["points"]}


def ends(folder):
    """What the status files say, which are written anew by every run of a point."""
    return {path.parent.name: path.read_text() for path in folder.glob("*/status.json")}


def test_a_sweep_is_summed_up_resumed_and_extended(sweep, tmp_path):
    axes = '"optimizer.learning_rate": [0.01, 0.02]'
    code, out, err = sweep(f"sweeps.product({{{axes}}}, sweeps.seeds(2))")
    assert code == 0, err
    folder = tmp_path / "sweep"
    before, summary = ends(folder), json.loads((folder / "summary.json").read_text())
    assert len(before) == 4 and summary["counts"] == {"finished": 4} and summary["metric"] == "held_out_loss"

    row = next(row for row in summary["rows"] if row["values"] == {"optimizer.learning_rate": 0.02})
    lines = [(folder / name / "metrics.jsonl").read_text().splitlines() for name in row["points"]]
    measured = [[line["held_out_loss"] for line in map(json.loads, one) if "held_out_loss" in line] for one in lines]
    last, best = np.array([one[-1] for one in measured]), np.array([min(one) for one in measured])
    np.testing.assert_allclose([row["last"], row["best"]], [last.mean(), best.mean()], rtol=1e-12)
    # Of two values the standard error of the mean is half of their distance.
    np.testing.assert_allclose(row["last_error"], abs(last[0] - last[1]) / 2, rtol=1e-12)
    assert row["num"] == 2 and f"{row['best']:.4g}" in out and (folder / "summary.md").read_text() in out
    table = (folder / "summary.csv").read_text().splitlines()
    assert len(table) == 3 and float(table[2].split(",")[3]) == row["last"]
    plots = ["plots/optimizer.learning_rate.png", "plots/learning_curves.png"]
    assert summary["plots"] == plots and all((folder / plot).read_bytes()[1:4] == b"PNG" for plot in plots)
    assert len(list((folder / "hparams").glob("*/events.*"))) == 4
    assert runs.open(folder / row["points"][0]).step == 6

    code, out, err = sweep(f"sweeps.product({{{axes}}}, sweeps.seeds(2)) + [{{'seed': 7}}]")
    assert code == 0 and "5 points: 5 finished" in out, err
    after = ends(folder)
    assert len(after) == 5 and before.items() <= after.items()


def test_a_changed_base_is_refused_naming_the_difference(sweep, tmp_path):
    assert sweep("sweeps.seeds(1)", "--dry_run")[0] == 0 and not (tmp_path / "sweep").exists()
    assert sweep("sweeps.seeds(1)", "--where=commands")[0] == 0
    code, _, err = sweep("sweeps.seeds(1)", "--config.train.num_steps=7")
    assert code == 2 and "another base config: train.num_steps: 6 -> 7" in err and len(err.splitlines()) == 1


def test_a_dry_run_shows_points_and_their_cost(sweep, tmp_path):
    code, out, err = sweep('sweeps.product({"schedule.name": ["cosine", "flow"]}, sweeps.seeds(2))', "--dry_run")
    assert code == 0, err
    header, *rows, total = out.splitlines()
    assert header.split() == ["point", "schedule.name", "seed", "state", "parameters", "time"]
    assert [row.split()[1:4] for row in rows] == [[n, s, "pending"] for n in ("cosine", "flow") for s in ("0", "1")]
    assert "4 points of 2 programs" in total and not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("body", "arguments", "said"),
    [
        ("[{'sede': 1}]", (), "point 1 (sede=1): there is no setting sede"),
        ("1 / 0", (), "line 3: ZeroDivisionError"),
        ("3", (), "iterable of override dictionaries"),
        ("[{}]", ("--num_workers=2",), "--num_workers is for --where local"),
        ("[{}]", ("--where=local", "--num_workers=-1"), "--num_workers must be >= 1, got -1"),
        ("[{}]", ("--mode=sample",), "--sweep trains, and this is --mode sample"),
        ("[{}]", ("--point=x",), "is no sweep's directory"),
        ("[{}]", ("--where=slurm", "--slurm=timeout_min"), "--slurm must be KEY=VALUE"),
        ("[{}]", ("--where=elsewhere",), "invalid choice"),
    ],
)
def test_bad_input_is_one_line(unchecked, sweep, tmp_path, body, arguments, said):
    code, _, err = sweep(body, *arguments)
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1
    assert not list(tmp_path.glob("sweep/*/config.json"))


def test_no_such_sweep_file_is_one_line(command):
    code, _, err = command("--config", CONFIG, "--sweep", "none.py")
    assert code == 2 and err.startswith("error: --sweep none.py: there is no such file")


def test_twelve_points_over_two_workers(sweep, children, tmp_path):
    """One is killed and one fails: the others finish. One is added: the rerun does what is missing, and no more."""
    marker = tmp_path / "killed before"
    killed = {"name": "killed", "evaluators.kill.name": "tests.sweeps.parts:kills_once"}
    killed |= {"evaluators.kill.every": 3, "evaluators.kill.marker": str(marker)}
    failing = {"name": "failing", "optimizer.learning_rate": -1.0}
    points = f"[{killed!r}, {failing!r}] + sweeps.seeds(10)"
    code, out, err = sweep(points, "--where=local", "--num_workers=2")
    folder = tmp_path / "sweep"
    expected = {f"seed{seed}": "finished" for seed in range(10)} | {"killed": "killed", "failing": "failed"}
    assert code == 2 and "1 of 12 points failed" in err, err
    assert states(folder) == expected
    assert "worker" in out and "was killed by SIGKILL; another one takes the points" in out
    assert "failed: optimizer.learning_rate must be > 0, got -1.0" in out and "10 finished" in out
    environments = [json.loads(path.read_text()) for path in folder.glob("seed*/environment.json")]
    assert len(environments) == 10 and len(list((folder / "logs").iterdir())) == 2
    shares = {len(workers.share(index, 2)) for index in range(2)}
    assert {environment["usable_cpu_count"] for environment in environments} <= shares

    before = ends(folder)
    code, out, _ = sweep(f"{points} + [{{'seed': 10}}]")
    assert code == 2 and states(folder) == expected | {"killed": "finished", "seed10": "finished"}
    assert "from the checkpoint of step 3" in out and out.count("from the beginning") == 1
    after = ends(folder)
    again = {name.rpartition("-")[0] for name in after if before.get(name) != after[name]}
    assert again == {"killed", "seed10"}


def test_a_stopped_sweep_saves_and_goes_on(sweep, tmp_path):
    stopping = {"name": "stopping", "evaluators.stop.name": "tests.sweeps.parts:stops_once"}
    stopping |= {"evaluators.stop.every": 3, "evaluators.stop.marker": str(tmp_path / "stopped before")}
    code, _, err = sweep(f"[{stopping!r}, {{'seed': 1}}]")
    assert code == 75 and "the same command goes on" in err
    assert states(tmp_path / "sweep") == {"stopping": "stopped", "seed1": "pending"}
    code, out, err = sweep(f"[{stopping!r}, {{'seed': 1}}]")
    assert code == 0 and "from the checkpoint of step" in out, err
    assert states(tmp_path / "sweep") == {"stopping": "finished", "seed1": "finished"}


def test_failed_points_are_retried_on_request_and_may_end_the_sweep(sweep, tmp_path):
    points = "[{'name': 'failing', 'data.on_device': False, 'optimizer.learning_rate': -1.0}, {'seed': 1}]"
    code, _, err = sweep(points, "--fail_fast")
    assert code == 2 and "failing-" in err and "learning_rate must be > 0" in err
    assert states(tmp_path / "sweep") == {"failing": "failed", "seed1": "pending"}
    status = next((tmp_path / "sweep").glob("failing-*/status.json"))
    first = status.read_text()
    sweep(points, "--fail_fast")
    assert status.read_text() == first
    status.write_text(first.replace("learning_rate", "rate"))
    sweep(points, "--retry_failed", "--fail_fast")
    assert "optimizer.learning_rate must be > 0" in status.read_text()


def test_printed_commands_are_idempotent(sweep, children, tmp_path, command):
    options = ("--config.optimizer.learning_rate=0.02", "--no-tune_malloc")
    code, out, err = sweep("[{'seed': 3}]", "--where=commands", *options)
    assert code == 0, err
    [line] = out.splitlines()
    words = shlex.split(line)
    assert "--no-tune_malloc" in words and "--no-compilation_cache" not in words
    assert words[:2] == [sys.executable, str(ROOT / "launch.py")] and words[-1].startswith("--point=seed3-")
    code, out, err = command(*words[2:])
    assert code == 0 and "from the beginning" in out, err
    [folder] = (tmp_path / "sweep").glob("seed3-*")
    assert json.loads((folder / "config.json").read_text())["optimizer"]["learning_rate"] == 0.02
    before = ends(tmp_path / "sweep")
    code, out, _ = command(*words[2:])
    assert code == 0 and out.endswith(": finished\n") and ends(tmp_path / "sweep") == before
    code, _, err = command(*words[2:-1], "--point=seed4-0123456789")
    assert code == 2 and "has no such point" in err
    code, out, _ = sweep("[{'seed': 3}]", "--where=commands", "--config.optimizer.learning_rate=0.02")
    assert code == 0 and out == ""


def test_jobs_of_submitit(sweep, children, tmp_path):
    """By its local executor, then by its debug executor, whose point fails."""
    pytest.importorskip("submitit")
    code, out, err = sweep("[{'seed': 1}]", "--where=slurm", "--cluster=local", "--slurm=timeout_min=5")
    assert code == 0 and "1 jobs submitted" in out and "1 points: 1 finished" in out, (out, err)
    points = "[{'seed': 1}, {'optimizer.learning_rate': -1.0}]"
    code, out, err = sweep(points, "--where=slurm", "--cluster=debug")
    assert code == 0 and "1 jobs submitted" in out and "2 points: 1 finished, 1 failed" in out, (out, err)


def test_a_preempted_job_stops_its_command_and_is_submitted_again(tmp_path):
    submitit = pytest.importorskip("submitit")
    from diffax.sweeps import slurm

    script = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); "
        "print(1, flush=True); time.sleep(60)"
    )
    job = slurm.Job([sys.executable, "-c", script], str(tmp_path))
    job._process = subprocess.Popen(job.command, stdout=subprocess.PIPE)
    assert job._process.stdout.readline() == b"1\n"
    again = job.checkpoint()
    assert job._process.wait() == 75 and isinstance(again, submitit.helpers.DelayedSubmission)
    assert again.function.command == job.command and again.function._process is None


def test_a_study_asks_is_told_and_is_replayed(sweep, tmp_path):
    study = """
class Study:
    def __init__(self): self.rates, self.told = [0.01, 0.02, -1.0], []
    def ask(self): return {"optimizer.learning_rate": self.rates.pop(0)} if self.rates else None
    def tell(self, point, value):
        self.told.append((point["optimizer.learning_rate"], value))
        open("told.txt", "a").write(f"{self.told[-1]}\\n")
def get_study(): return"""
    code, _, err = sweep("Study()", head=study)
    assert code == 2 and "1 of 3 points failed" in err
    summary = json.loads((tmp_path / "sweep" / "summary.json").read_text())
    best = [record["best"] and record["best"]["value"] for record in summary["points"]]
    told = (tmp_path / "told.txt").read_text().splitlines()
    assert told == [f"({rate}, {value})" for rate, value in zip([0.01, 0.02, -1.0], best, strict=True)]
    before = ends(tmp_path / "sweep")
    sweep("Study()", head=study)
    assert ends(tmp_path / "sweep") == before
    assert (tmp_path / "told.txt").read_text().splitlines() == told * 2


def test_a_study_of_optuna_finds_the_least_of_a_parabola(unchecked):
    pytest.importorskip("optuna")
    from diffax import sweeps

    def run(space):
        study, asked = sweeps.OptunaStudy(space, num_points=25, seed=1), []
        while (point := study.ask()) is not None:
            asked.append(point)
            study.tell(point, None if len(asked) == 3 else (point["a"] - 2) ** 2)
        return asked

    asked = run({"a": (-10.0, 10.0), "b": [1, 2], "c": (1e-4, 1e-1, "log"), "d": (1, 4)})
    assert len(asked) == 25 and min(abs(point["a"] - 2) for point in asked) < 1
    assert {point["b"] for point in asked} == {1, 2} and all(1 <= point["d"] <= 4 for point in asked)
    assert all(1e-4 <= point["c"] <= 1e-1 for point in asked)
    assert run(lambda trial: {"a": trial.suggest_float("a", -1, 1)}) == run({"a": (-1.0, 1.0)})
    with pytest.raises(ValueError, match="did not ask"):
        sweeps.OptunaStudy({"a": (0.0, 1.0)}, num_points=1).tell({"a": 3.0}, 1.0)
    with pytest.raises(ValueError, match="a range must be"):
        sweeps.OptunaStudy({"a": (0.0, 1.0, "lin")}, num_points=1).ask()


def test_workers_share_cores_and_gpus(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    given = [workers.environment(index, 4) for index in range(4)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in given] == ["4", "7", "4", "7"]
    assert {one["XLA_PYTHON_CLIENT_MEM_FRACTION"] for one in given} == {"0.45"}
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in workers.environment(0, 2)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(workers, "cores", lambda: [0, 1, 4, 5, 6])
    assert [workers.share(index, 2) for index in range(2)] == [[0, 1, 4], [5, 6]]
    assert workers.environment(1, 2)["OMP_NUM_THREADS"] == "2"
    assert [workers.share(index, 6)[0] for index in range(6)] == [0, 1, 4, 5, 6, 0]
