"""Data as people have it, by the commands that people type: classes by name, remarks at the start, inspection."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from diffax import data, runs
from tests.data import found
from tests.jobs.test_launch import MATRIX, config


def write(root, counts, mode="RGB", side=8):
    """{"train/cat": 3} makes root/train/cat/0.png .. 2.png of random pixels."""
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).convert(mode).save(
                root / name / f"{index}.png"
            )


def folder(root, run, *more):
    data_options = ("--config.data.name=folder", f"--config.data.path={root}")
    return ("--config", config("digits_conditional"), "--workdir", run, *MATRIX, *data_options, *more)


def test_classes_are_printed_stored_and_drawn_by_name(command, tmp_path):
    run = tmp_path / "run"
    write(tmp_path / "set", {"train/10": 3, "train/ant": 3, "train/bee": 3, "test/bee": 2})
    code, out, err = command(*folder(tmp_path / "set", run))
    assert code == 0, err
    assert "classes: 10, ant, bee\n" in out
    assert json.loads((run / "model.json").read_text())["class_names"] == ["10", "ant", "bee"]
    assert runs.open(run).class_names == ("10", "ant", "bee")
    for label, number, name in (("bee", 2, "bee"), ("10", 0, "10"), ("1", 1, "ant")):
        code, out, err = command("--workdir", run, "--mode=sample", "--num_samples=2", "--label", label)
        assert code == 0 and f"2 samples of class {number} ({name}) of step 3" in out, err
        path = re.search(r"\S*generated/\S+", out).group()
        assert runs.sample_set(path).examples.labels.tolist() == [number] * 2 and f"label{number}" in path
    code, _, err = command("--workdir", run, "--mode=sample", "--label=wasp")
    assert code == 2 and err == "error: --label must be in 0..2 or one of 10, ant, bee, got wasp\n"
    # Runs of before classes had names.
    stored = json.loads((run / "model.json").read_text())
    del stored["class_names"]
    (run / "model.json").write_text(json.dumps(stored))
    assert runs.open(run).class_names is None
    assert command("--workdir", run, "--mode=sample", "--num_samples=2", "--label=2")[0] == 0


def test_what_was_held_out_and_left_out_is_said_once(command, tmp_path):
    write(tmp_path / "set", {"ant": 30, "bee": 30})
    (tmp_path / "set" / "ant" / "notes.txt").write_text("text")
    for mode in ("train", "inspect_data"):
        arguments = folder(tmp_path / "set", tmp_path / "run")
        code, out, err = command(*arguments, "--mode", mode)
        assert code == 0, err
        for line in ("every 50th example is held out, 1 of 60", "1 files (.txt 1), the first is ant/notes.txt"):
            assert out.count(line) == 1


@pytest.mark.parametrize("workdir", [".", "..", "run", "run/"])
def test_data_are_inspected_with_any_directory(command, tmp_path, workdir, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    code, _, err = command("--config", config("digits"), "--workdir", workdir, "--mode", "inspect_data")
    assert code == 0, err
    [path] = tmp_path.rglob("*_data.png")
    assert path.name == {".": "b_data.png", "..": "a_data.png"}.get(workdir, "run_data.png")


def test_a_class_without_held_out_examples_is_one_clear_line(command, tmp_path):
    write(tmp_path / "set", {"train/ant": 3, "train/bee": 3, "test/bee": 2})
    run = ("--config", config("digits"), "--workdir", tmp_path / "run", "--config.data.name=folder", *MATRIX)
    run += (f"--config.data.path={tmp_path / 'set'}",)
    code, _, err = command(*run, "--config.data.only_label=ant")
    assert code == 2 and err == "error: data.only_label = ant: set/test has no example of class 0 (ant)\n"
    assert command(*run, "--config.data.only_label=bee")[0] == 0


def test_generated_samples_are_read_back_as_images(command, tmp_path):
    run = tmp_path / "run"
    assert command("--config", config("digits_conditional"), "--workdir", run, *MATRIX)[0] == 0
    assert command("--workdir", run, "--mode=sample", "--num_samples=60")[0] == 0
    [path] = (run / "generated").iterdir()
    [shard] = path.glob("*.npz")
    train, test = (data.files.load_arrays(split, path=str(path)) for split in ("train", "test"))
    assert train.num_levels == 256 and train.num_classes == 10 and len(train) == 59
    np.testing.assert_array_equal(test.examples, np.load(shard)["samples"][49:50])
    again = ("--config", config("digits_conditional"), "--workdir", tmp_path / "again", *MATRIX)
    code, _, err = command(*again, "--config.data.name=arrays", f"--config.data.path={path}")
    assert code == 0, err


def test_a_folder_that_has_grown_is_refused_until_that_is_allowed(command, tmp_path):
    run = tmp_path / "run"
    write(tmp_path / "set", {"ant": 60})
    assert command(*folder(tmp_path / "set", run))[0] == 0
    Image.new("RGB", (8, 8)).save(tmp_path / "set" / "ant" / "new.png")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    more = folder(tmp_path / "set", run, "--config.train.num_steps=4")
    code, _, err = command(*more)
    assert code == 2 and err.count("\n") == 1 and "was trained on other data: count: 59 -> 60; files: " in err
    assert "--allow_change=data, which keeps parameters, optimizer and step" in err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    code, out, err = command(*more, "--allow_change=data")
    assert code == 0 and "other data than before: count: 59 -> 60" in out, err
    assert '"data: count: 59 -> 60"' in (run / "changes.jsonl").read_text()
    (tmp_path / "set").rename(tmp_path / "moved")  # the same data elsewhere
    moved = folder(tmp_path / "moved", run, "--config.train.num_steps=5", "--allow_change=data.path")
    code, _, err = command(*moved)
    assert code == 0, err


@pytest.mark.parametrize(
    "name", ["sprites_with_transparency", "microscopy_in_16_bits", "arrays_as_keras_has_them", "shards_of_webdataset"]
)
def test_found_sets_are_trained_on_and_sampled(command, tmp_path, name):
    (tmp_path / "set").mkdir()
    if name == "shards_of_webdataset":
        pytest.importorskip("datasets")
    options = found.FOUND[name][0](tmp_path / "set")
    overrides = [f"--config.data.name={options.pop('name')}", *(f"--config.data.{k}={v}" for k, v in options.items())]
    run, expected = tmp_path / "run", found.FOUND[name][1]
    code, out, err = command("--config", config("digits"), "--workdir", run, *MATRIX, *overrides)
    assert code == 0 and expected.note in out, err
    [picture] = (run / "samples").iterdir()
    assert Image.open(picture).mode == ("L" if expected.shape[-1] == 1 else "RGB")
    code, _, err = command("--workdir", run, "--mode=sample", "--num_samples=3")
    assert code == 0, err
    [drawn] = (run / "generated").iterdir()
    assert runs.sample_set(drawn).examples.examples.shape == (3, *expected.shape)
