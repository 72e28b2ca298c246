"""Commands as a person types them: what they write, what they say, how they exit."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from diffax import data, runs

ROOT = pathlib.Path(__file__).parents[2]
SHORT = (
    "--config.train.batch_size=4",
    "--config.train.num_steps=3",
    "--config.optimizer.warmup_steps=0",
    "--config.optimizer.decay=constant",  # else num_steps would be part of the compiled step
    "--config.train.log_every=1",
    "--config.evaluators.samples.num_samples=4",
    "--config.sampler.num_steps=2",
)
TINY = (
    "--config.model.channels=8",
    "--config.model.channel_multipliers=(1,)",
    "--config.model.num_res_blocks=0",
    "--config.model.attention_resolutions=()",
    "--config.model.groups=4",
    "--config.optimizer.name=adam",
    *SHORT,
)
# Where a run matters and what is measured of it does not: each measurement compiles a program of its own.
UNEVALUATED = ("--config.evaluators.samples=None", "--config.evaluators.held_out_loss=None")
# Where the data matter and the network does not: one matrix compiles in a fraction of a UNet's time.
MATRIX = ("--config.model.name=tests.tiny:Network", "--config.optimizer.name=adam", *SHORT)
# Where images do not matter.
EVALUATED_POINTS = (
    "--config.model.hidden=8",
    "--config.model.depth=1",
    "--config.train.batch_size=4",
    "--config.train.num_steps=3",
    "--config.train.log_every=1",
    "--config.optimizer.warmup_steps=0",
    "--config.optimizer.decay=constant",  # else num_steps would be part of the compiled step
    "--config.sampler.num_steps=2",
)
POINTS = (*EVALUATED_POINTS, *UNEVALUATED)


def config(name):
    return ROOT / "configs" / f"{name}.py"


def test_trains_and_resumes_and_samples(command, tmp_path):
    digits = ("--config", config("digits_conditional"), "--workdir", tmp_path / "run", *TINY)
    code, out, err = command(*digits)
    assert code == 0, err
    assert "from the beginning" in out and str(tmp_path / "run" / "samples") in out
    run = tmp_path / "run"
    names = {path.name.split(".")[0] for path in run.iterdir()}
    assert names == {"config", "environment", "metrics", "model", "moments", "events", "samples", "checkpoints"}
    assert [path.name for path in (run / "samples").iterdir()] == ["00000003.png"]

    code, out, _ = command(*digits, "--config.train.num_steps=5")
    assert code == 0 and "from the checkpoint of step 3" in out
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5]
    speeds = [line for line in lines if "loss" in line]
    for line in speeds:
        assert line["images_per_second"] == pytest.approx(4 * line["steps_per_second"])
        assert 0 < line["flops_utilization"] < 1.5 and 0.05 < line["memory_gb"] < 1000
    changed = json.loads((run / "changes.jsonl").read_text())
    assert changed["step"] == 3 and "train.num_steps: 3 -> 5" in changed["changes"]

    code, out, _ = command(
        "--workdir", run, "--mode", "sample", "--num_samples", 5, "--sampler", "ddpm", "--num_steps", 3, "--label", 7
    )
    assert code == 0 and "DDPM(small), 3 evaluations" in out
    [path] = (run / "generated").iterdir()
    drawn = runs.sample_set(path).examples
    assert drawn.examples.shape == (5, 8, 8, 1) and drawn.labels.tolist() == [7] * 5
    assert (path / "preview.png").exists()


def test_samples_do_not_depend_on_the_batch(command, tmp_path):
    run = tmp_path / "run"
    assert command("--config", config("spiral"), "--workdir", run, *POINTS)[0] == 0
    drawn = []
    for batch_size in (1, 3, 7):
        command("--workdir", run, "--mode=sample", "--num_samples=7", "--batch_size", batch_size, "--sampler=ddpm")
        [path] = (run / "generated").iterdir()
        drawn.append(runs.sample_set(path).examples.examples)
        shutil.rmtree(path)
    np.testing.assert_allclose(drawn[0], drawn[1], atol=1e-5)
    np.testing.assert_allclose(drawn[0], drawn[2], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config.model.channnels=3"], 'Did you mean "channels"'),
        (["--config.train.batch_size=many"], "train.batch_size must be a whole number, got 'many'"),
        (["--config.schedule.name=cosin"], "schedule.name must be one of cosine, linear_beta,"),
        (["--config.parameterization.name=noise"], "parameterization.name must be one of eps, x_0, v,"),
        (["--config.loss.weighting.name=heavy"], "loss.weighting.name must be one of uniform, snr,"),
        (["--config.sampler.name=euler_maruyama_9"], "sampler.name must be one of ddim, ddpm, euler"),
        (["--config.sampler.grid=cubic"], "sampler.grid.name must be one of uniform, log_snr, karras, discrete"),
        (["--config.model.name=transformer"], "model.name must be one of unet, mlp"),
        (["--config.model.time_input=index"], "needs a Discrete schedule"),
        (["--config.data.name=cifr10"], "data.name = 'cifr10' is not a dataset; the nearest are cifar10"),
        (["--config.data.name=folder"], "data.name = 'folder' needs data.path"),
        (["--config.data.name=folder", "--config.data.path=nowhere"], "data.path = 'nowhere' is not a folder"),
        (["--config.data.augment=mixup"], "data.augment.name must be one of none, flip, geometric, or module:object"),
        (["--config.data.on_corrupt=ignore"], "data.on_corrupt must be raise or skip, got 'ignore'"),
        (["--config.model.groups=5"], "5"),
        (["--config.model.channel_multipliers=(1,1,1,1,1)"], "must be divisible by 16"),
        (["--config.sampler.num_steps=0"], "sampler.num_steps must be >= 1, got 0"),
        (
            [
                "--config.schedule.name=discrete_linear",
                "--config.sampler.grid.spacing=leading",
                "--config.sampler.grid=discrete",
                "--config.sampler.num_steps=1001",
            ],
            "at most the 1000 steps of the schedule, got 1001",
        ),
        (
            ["--config.parameterization.sigma_data=1", "--config.parameterization.name=v"],
            "parameterization 'v' has no option sigma_data, but none at all",
        ),
        (["--config.ema.mean.decay=0.5"], "ema.mean.name must be one of constant, half_life, power,"),
        (["--config.ema.constant.decay=1.0"], "decay must be in [0, 1), got 1.0"),
        (["--config.train.snapshot_every=5"], "train.snapshot_every = 5 needs a power-function average"),
        (["--config.train.accumulate=3"], "train.accumulate must divide the batch of 32 examples, got 3"),
        (["--config.model.remat=all"], "model.remat must be one of none, products, blocks, got 'all'"),
        (["--config.optimizer.moment_dtype=int8"], "optimizer.moment_dtype must be one of float32, bfloat16"),
        (["--config.train.num_steps=0"], "train.num_steps must be >= 1, got 0"),
        (["--config.optimizer.learning_rate=0.0"], "optimizer.learning_rate must be > 0"),
        (["--config.optimizer.name=sgd"], "optimizer.name must be one of adam, muon, or"),
        (
            ["--config.sampler.guidance=classifier_free", "--config.sampler.guidance.scale=2"],
            "needs a conditional model",
        ),
        (["--config.sampler.epsilon_scale=0.0"], "sampler.epsilon_scale must be > 0"),
        (["--config.conditions.label.drop=0.1"], "loss.stable_targets is for networks without conditions, and this"),
        (["--mode=dance"], "dance"),
        (["--colour=red"], "colour"),
        (["stray"], "unexpected argument 'stray'"),
        (["--num_steps=5"], "--num_steps is for --mode sample, and this is --mode train"),
    ],
)
def test_bad_input_is_one_clear_line_and_writes_nothing(command, tmp_path, arguments, said):
    code, out, err = command("--config", config("digits"), "--workdir", tmp_path / "run", *arguments)
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err
    assert list(tmp_path.iterdir()) == []


def test_a_parameterization_that_divides_by_zero_is_refused(command, tmp_path):
    code, _, err = command(
        "--config", config("spiral"), "--workdir", tmp_path / "run", "--config.parameterization.name=eps"
    )
    assert code == 2 and err.count("\n") == 1 and "Eps divides by alpha, which is 0 at t = 1" in err
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_the_cifar_config_says_so_and_leaves_nothing(command, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    remotes = (data.download.Remote("http://127.0.0.1:9/cifar-10-binary.tar.gz", 100, "0" * 64),)
    monkeypatch.setitem(data.prepare.ARCHIVES, "cifar10", data.prepare.ARCHIVES["cifar10"]._replace(remotes=remotes))
    code, _, err = command("--config", config("cifar_ddpm"), "--workdir", tmp_path / "run")
    assert code == 2 and "cannot be downloaded" in err and "local copy" in err
    assert not (tmp_path / "run").exists()


def test_a_config_file_that_does_not_exist(command):
    code, _, err = command("--config", "configs/nonsense.py")
    assert code == 2 and err == "error: --config configs/nonsense.py: there is no such file\n"
    code, _, err = command("--config", ROOT / "configs" / "digit.py")
    assert code == 2 and "digits.py, digits_alpha_flow.py" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def get_config(:\n", "line 1: invalid syntax"),
        ("x = 1\n", "it has no function get_config()"),
        ("def get_config():\n    return {}\n", "get_config() must return a ConfigDict, got dict"),
        ("\ndef get_config():\n    return 1 / 0\n", "line 3: ZeroDivisionError: division by zero"),
        ("import no_such_module\n", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_config_file_with_a_mistake(command, tmp_path, content, message):
    (tmp_path / "mine.py").write_text(content)
    code, out, err = command("--config", "mine.py")
    assert code == 2 and out == "" and err.count("\n") == 1
    assert err.startswith("error: --config mine.py") and message in err


def test_help_lists_modes_flags_and_examples(command):
    code, out, _ = command("--help")
    assert code == 0 and out.count("python launch.py --") >= 3
    for mode in ("train", "sample", "plan", "inspect_data", "show"):
        assert f"--mode {mode}: " in out
    for flag in ("--allow_change", "--init_from", "--num_samples", "--label", "--memory_gb", "--of", "--coordinator"):
        assert flag in out
    code, out, _ = command("--mode", "plan", "--help")
    assert code == 0 and "--memory_gb" in out and "--label" not in out
    assert command("--helpfull")[1].count("--mode ") >= 5


def test_sampling_without_a_checkpoint_or_a_label_out_of_range(command, tmp_path):
    run = tmp_path / "run"
    code, _, err = command("--workdir", run, "--mode=sample")
    assert code == 2 and "has no config.json" in err
    code, _, err = command("--config", config("digits_conditional"), "--workdir", run, "--mode=sample")
    assert code == 2 and "has no checkpoint yet" in err
    assert command("--config", config("spiral"), "--workdir", run, *POINTS)[0] == 0
    code, _, err = command("--workdir", run, "--mode=sample", "--label=1")
    assert code == 2 and "--label 1 needs a class-conditional model; this one has no classes" in err


def test_a_directory_of_another_run_is_refused_and_kept(command, tmp_path):
    run = tmp_path / "run"
    spiral = ("--config", config("spiral"), "--workdir", run, *POINTS)
    assert command(*spiral)[0] == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, _, err = command(*spiral, "--config.model.hidden=16", "--config.seed=1")
    assert code == 2 and "model.hidden: 8 -> 16" in err and "seed: 0 -> 1" in err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    code, _, err = command(*spiral, "--config.optimizer.learning_rate=1e-4", "--config.train.num_steps=4")
    assert code == 2 and "optimizer.learning_rate: 0.002 -> 0.0001" in err
    changed = (*spiral, "--config.optimizer.learning_rate=1e-4", "--config.train.num_steps=4")
    assert command(*changed, "--allow_change=optimizer.learning_rate")[0] == 0
    assert "optimizer.learning_rate: 0.002 -> 0.0001" in (run / "changes.jsonl").read_text()


def test_several_averages_are_kept_stored_and_sampled(command, tmp_path):
    run = tmp_path / "run"
    averages = (
        "--config.ema.constant=None",
        "--config.ema.half_life.images=40",
        "--config.ema.short.name=power",
        "--config.ema.short.length=0.05",
        "--config.ema.long.name=power",
        "--config.ema.long.length=0.1",
        "--config.train.snapshot_every=2",
    )
    code, _, err = command("--config", config("spiral"), "--workdir", run, *POINTS, *averages)
    assert code == 0, err
    stored = [np.load(path) for path in sorted((run / "ema_snapshots").iterdir())]
    assert [int(file["step"]) for file in stored] == [2, 3]
    assert {name.split("/")[0] for name in stored[0]} == {"step", "exponents", "0", "1"}
    for name in ("0", "short"):
        assert command("--workdir", run, "--mode=sample", "--num_samples=3", "--ema", name)[0] == 0
    first, third = (runs.sample_set(path).examples.examples for path in sorted((run / "generated").iterdir()))
    assert first.shape == third.shape and not np.array_equal(first, third)
    code, _, err = command("--workdir", run, "--mode=sample", "--ema=3")
    assert code == 2
    assert "there is no average '3': the averages of config.ema are 0 (half_life), 1 (long), 2 (short)" in err


def test_settings_of_memory_and_speed_go_together(command, tmp_path):
    run = tmp_path / "run"
    settings = ["--config.train.accumulate=2", "--config.evaluators.loss_by_log_snr.bins=2"]
    settings += ["--config.optimizer.moment_dtype=bfloat16", "--config.model.dtype=bfloat16"]
    code, _, err = command("--config", config("spiral"), "--workdir", run, *POINTS, *settings)
    assert code == 0, err
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    [looked] = [line for line in lines if "loss_log_snr_-5" in line]
    assert all(looked[f"{name}_log_snr_{centre}"] > 0 for name in ("loss", "grad_norm") for centre in (-5, 5))


def test_ctrl_c_before_training_is_one_line(command, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("diffax.jobs.train.run", interrupted)
    assert command("--config", config("digits"), "--workdir", tmp_path / "run") == (130, "", "interrupted\n")


def test_a_directory_with_other_things_in_it_is_left_alone(command, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    code, _, err = command("--config", config("digits"), "--workdir", tmp_path / "photos", *MATRIX)
    assert code == 2 and "neither empty nor a run's directory" in err
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_a_workdir_that_cannot_be_written(command, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = command("--config", config("digits"), "--workdir", tmp_path / "file" / "run", *MATRIX)
    assert code == 2 and "is a file, not a directory" in err


def test_diverging_training_stops_and_goes_on_from_the_last_good_step(command, tmp_path):
    run = tmp_path / "run"
    spiral = ("--config", config("spiral"), "--workdir", run, *POINTS, "--config.train.checkpoint_every=3")
    too_much = ("--config.optimizer.learning_rate=1e38", "--allow_change=optimizer.learning_rate")
    more = ("--config.train.num_steps=20", "--config.train.max_skipped=2")
    assert command(*spiral)[0] == 0
    code, _, err = command(*spiral, *more, *too_much)
    # The update of step 4 is finite and ruins the parameters: 5 and 6 are skipped, and 6 is not saved.
    [said] = [line for line in err.splitlines() if line.startswith("stopped: ")]
    assert code == 3 and "at step 5 (learning rate 1e+38; losses up to there" in said
    batch = data.order.indices(len(data.toy.load("swiss_roll", "train")), 0, 16, 20)
    assert f"examples of its batch {', '.join(map(str, batch))})" in said
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["3"]
    lower = ("--config.optimizer.learning_rate=0.001", "--allow_change=optimizer.learning_rate")
    code, out, err = command(*spiral, *more, *lower)
    assert code == 0 and "from the checkpoint of step 3" in out, err
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [*range(1, 21)]


def test_a_run_goes_on_after_an_odd_batch(command, tmp_path):
    """One of 58 points is so far away that its squared error is infinite, and in the batch of the second step."""
    points = np.random.default_rng(0).standard_normal((59, 2)).astype(np.float32)
    second = data.order.indices(58, 0, 4, 8)
    points[second[second < 49][0]] = 1e30  # before the one that is held out
    np.save(tmp_path / "points.npy", points)
    arrays = ("--config.data.name=arrays", "--config.data.path=points.npy")
    code, _, err = command("--config", config("spiral"), "--workdir", tmp_path / "run", *POINTS, *arrays)
    assert code == 0, err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [(line["step"], line.get("skipped"), "loss" in line) for line in lines if "steps_per_second" in line]
    assert steps == [(1, None, True), (2, 1, False), (3, 1, True)]


def test_data_are_inspected_before_anything_is_trained(command, tmp_path):
    code, out, err = command("--config", config("digits"), "--mode=inspect_data", "--config.data.augment=flip")
    assert code == 0, err
    assert "digits/train: 1,500 examples of shape (8, 8, 1), 297 held out (digits/test)" in out
    # Counted by hand from scikit-learn's file.
    assert "10 classes, 146 to 153 examples each" in out and "-1.000 to 1.000" in out
    [picture] = tmp_path.rglob("*_data.png")
    assert str(picture.relative_to(tmp_path)) in out and [path.suffix for path in picture.parent.iterdir()] == [".png"]


def test_a_folder_of_images_is_trained_on(command, tmp_path):
    rng = np.random.default_rng(0)
    for split, name in (("train", "cat"), ("train", "dog"), ("test", "cat"), ("test", "dog")):
        folder = tmp_path / "pictures" / split / name
        folder.mkdir(parents=True)
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (20, 12, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    given = ["--config.data.name=folder", "--config.data.path=pictures", "--config.data.size=8"]
    digits = [*MATRIX, "--config.parameterization.name=edm", "--config.loss.stable_targets=False"]
    given += ["--config.data.augment=flip", "--config.data.on_device=False"]
    code, out, err = command("--config", config("digits"), "--workdir", tmp_path / "run", *digits, *given)
    assert code == 0, err
    assert "8 examples from the host" in out and (tmp_path / "run" / "checkpoints").is_dir()
    (tmp_path / "pictures" / "train" / "cat" / "1.png").write_bytes(b"broken")
    code, _, err = command("--config", config("digits"), "--workdir", tmp_path / "new", *digits, *given)
    assert code == 2 and "pictures/train/cat/1.png: unreadable image" in err and not (tmp_path / "new").exists()
    inspect = ("--mode=inspect_data", *given, "--config.parameterization.name=edm")
    code, out, err = command("--config", config("digits"), *inspect, "--config.data.on_corrupt=skip")
    assert code == 0 and "1 examples could not be read; the next good one stands in" in out, err


def test_garbage_is_collected_once_all_is_imported(tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        "import gc\nfrom configs.spiral import get_config\nprint(gc.isenabled(), gc.get_freeze_count() > 100_000)\n"
    )
    show = [sys.executable, "launch.py", "--config", str(own), "--mode=show"]
    done = subprocess.run(show, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.startswith("True True\n")
