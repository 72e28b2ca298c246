"""Sample sets: resumed, extended and drawn on other batches and devices they are the same set."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from diffax import data, runs
from diffax.data import shards
from diffax.runs import sample_sets, trained
from tests.jobs.test_launch import MATRIX, POINTS, config


@pytest.fixture(scope="module")
def digits_once(tmp_path_factory):
    return tmp_path_factory.mktemp("digits") / "run"


@pytest.fixture
def digits_run(command, digits_once, tmp_path):
    """A class-conditional run on the digits."""
    if not digits_once.exists():
        code, _, err = command("--config", config("digits_conditional"), "--workdir", digits_once, *MATRIX)
        assert code == 0, err
    shutil.copytree(digits_once, tmp_path / "run")
    return tmp_path / "run"


class Killed(BaseException):
    """The process dies."""


def killed_at(count):
    def report(done):
        if done >= count:
            raise Killed

    return report


def content(path):
    """{file: bytes} of the arrays of a set."""
    [joined] = [{name: array.tobytes() for name, array in part.items()} for part in joined_shards(path)]
    return joined


def joined_shards(path):
    read = list(shards.read(path))
    return [{name: np.concatenate([part[name] for part in read]) for name in read[0]}]


def test_killed_twice_and_extended_it_is_the_set_made_in_one_go(digits_run, tmp_path, monkeypatch):
    monkeypatch.setattr(sample_sets, "_SHARD", 8)
    model = runs.open(digits_run)
    whole = sample_sets.fill(model, tmp_path / "whole", 30, batch_size=4)
    again = tmp_path / "again"
    for dies_at, kept in ((5, 0), (21, 16)):
        with pytest.raises(Killed):
            sample_sets.fill(model, again, 30, batch_size=4, report=killed_at(dies_at))
        [path] = again.iterdir()
        assert shards.count(path) == kept
    sample_sets.fill(model, again, 27, batch_size=4)  # ends within a batch
    assert shards.count(path) == 27
    assert sample_sets.fill(model, again, 30, batch_size=4) == path and path.name == whole.name
    assert content(path) == content(whole)
    assert sorted(file.name for file in path.iterdir()) == sorted(file.name for file in whole.iterdir())
    before = {file: file.stat().st_mtime_ns for file in path.iterdir()}
    sample_sets.fill(model, again, 20, batch_size=4)  # fewer than there are
    assert before == {file: file.stat().st_mtime_ns for file in path.iterdir()}


def test_a_slow_set_is_written_before_its_shard_is_full(digits_run, tmp_path, monkeypatch):
    model = runs.open(digits_run)
    whole = sample_sets.fill(model, tmp_path / "whole", 12, batch_size=4)
    monkeypatch.setattr(sample_sets, "_SECONDS", 0.0)
    with pytest.raises(Killed):
        sample_sets.fill(model, tmp_path / "again", 12, batch_size=4, report=killed_at(12))
    [path] = (tmp_path / "again").iterdir()
    assert [(start, stop) for start, stop, _ in shards.found(path)] == [(0, 8)]
    sample_sets.fill(model, tmp_path / "again", 12, batch_size=4)
    assert content(path) == content(whole)


def test_a_trained_model_is_sampled_in_bfloat16_and_the_set_says_so(command, digits_run):
    sampled = ("--workdir", digits_run, "--mode=sample", "--num_samples=4", "--config.sampler.num_steps=2")
    for more in ((), ("--config.model.dtype=bfloat16",)):
        code, _, err = command(*sampled, *more)
        assert code == 0, err
    first, second = sorted((digits_run / "generated").iterdir(), key=lambda path: "bfloat16" in path.name)
    assert json.loads((second / "set.json").read_text())["dtype"] == "bfloat16"
    assert "dtype" not in json.loads((first / "set.json").read_text())
    [kept], [other] = (joined_shards(path) for path in (first, second))
    assert 0 < np.abs(kept["samples"].astype(int) - other["samples"]).mean() < 3


def test_an_evaluation_in_bfloat16_leaves_that_in_float32(command, digits_run):
    measured = ("--workdir", digits_run, "--mode=evaluate", "--num_samples=4", "--metrics=energy", "--evaluations=2")
    for more in ((), ("--config.model.dtype=bfloat16",)):
        code, _, err = command(*measured, "--config.evaluation.reference_size=20", *more)
        assert code == 0, err
    assert len(list((digits_run / "evaluations").iterdir())) == 2


def test_other_batches_differ_by_one_grey_level_at_most_and_other_seeds_by_more(digits_run, tmp_path):
    model = runs.open(digits_run)

    def drawn(folder, **options):
        return runs.sample_set(sample_sets.fill(model, tmp_path / folder, 24, **options)).examples.examples.astype(int)

    first = drawn("a", batch_size=24)
    assert np.abs(first - drawn("b", batch_size=5)).max() <= 1
    assert np.abs(first - drawn("c", batch_size=24, seed=1)).max() > 20


def test_a_set_says_what_made_it_and_reads_back(command, digits_run, tmp_path):
    code, out, err = command("--workdir", digits_run, "--mode=sample", "--num_samples=13", "--batch_size=8")
    assert code == 0 and "13 samples of step" in out, err
    [path] = (digits_run / "generated").iterdir()
    opened, described = runs.sample_set(path), json.loads((path / "set.json").read_text())
    assert described["labels"] == "equal" and described["seed"] == 0 and described["sampler"]["name"] == "ddim"
    assert described["rounding"].startswith("to the nearest of 256 levels") and described["average"] == "constant"
    assert len(opened) == 13 and opened.examples.num_classes == 10 and opened.examples.num_levels == 256
    np.testing.assert_array_equal(opened.examples.labels, np.arange(13) % 10)
    drawn = runs.open(digits_run).draw(13, batch_size=8)
    expected = np.clip(np.round(127.5 * (drawn.astype(np.float64) + 1)), 0, 255)
    assert np.abs(opened.examples.examples - expected).max() <= 1
    parts = [batch["x"] for batch in opened.batches(5, 12)]
    assert [len(part) for part in parts] == [5, 5, 2]
    np.testing.assert_array_equal(np.concatenate(parts), opened.examples.examples[:12])
    assert Image.open(path / "preview.png").size[0] > 0


def test_labels_are_in_turn_at_random_or_of_one_class(digits_run):
    model = runs.open(digits_run)
    np.testing.assert_array_equal(sample_sets.sample_labels(model, 12, "equal", 0), np.arange(12) % 10)
    assert sample_sets.sample_labels(model, 3, 7, 0).tolist() == [7, 7, 7]
    drawn = sample_sets.sample_labels(model, 5000, "drawn", 3)
    # Multinomial: each count has a standard deviation of 21.
    assert np.abs(np.bincount(drawn, minlength=10) - 500).max() < 100
    np.testing.assert_array_equal(drawn[:20], sample_sets.sample_labels(model, 20, "drawn", 3))
    assert not np.array_equal(drawn[:20], sample_sets.sample_labels(model, 20, "drawn", 4))


def test_other_parameters_are_another_set(digits_run, tmp_path):
    model = runs.open(digits_run)
    described = sample_sets.describe(model, seed=0, labels="equal")
    params = model.params()
    other = trained.Trained(model.model, model.step, lambda index: _changed(params), model.mesh)
    assert sample_sets.describe(other, seed=0, labels="equal")["parameters"] != described["parameters"]
    names = {
        sample_sets.directory_name(one)
        for one in (
            described,
            sample_sets.describe(other, seed=0, labels="equal"),
            described | {"labels": "drawn"},
            described | {"labels": 3},
            described | {"seed": 1},
        )
    }
    assert len(names) == 5


def _changed(params):
    import jax

    leaves, structure = jax.tree.flatten(params)
    return jax.tree.unflatten(structure, [leaves[0] + 1e-3, *leaves[1:]])


def test_points_are_kept_as_floats(command, tmp_path):
    run = tmp_path / "run"
    assert command("--config", config("spiral"), "--workdir", run, *POINTS)[0] == 0
    assert command("--workdir", run, "--mode=sample", "--num_samples=6")[0] == 0
    [path] = (run / "generated").iterdir()
    opened = runs.sample_set(path)
    assert opened.examples.examples.dtype == np.float32 and opened.examples.num_levels is None
    np.testing.assert_allclose(opened.examples.examples, runs.open(run).draw(6, batch_size=6), atol=1e-5)


def test_files_of_other_codebases_are_sample_sets(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (7, 6, 6, 3), np.uint8)
    np.savez(tmp_path / "samples.npz", arr_0=images)
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "pictures" / f"{number}.png")
    for path in (tmp_path / "samples.npz", tmp_path / "pictures"):
        opened = runs.sample_set(path)
        np.testing.assert_array_equal(opened.examples.batch(np.arange(7))["x"], images)
        assert opened.description == {}


def test_what_is_no_set_or_damaged_is_one_clear_line(command, digits_run, tmp_path):
    with pytest.raises(runs.UserError, match=r"nowhere: there is nothing; expected a sample set"):
        runs.sample_set(tmp_path / "nowhere")
    path = sample_sets.fill(runs.open(digits_run), tmp_path / "sets", 4, batch_size=4)
    [shard] = path.glob("*.npz")
    good = shard.read_bytes()
    shard.write_bytes(good[:100])
    with pytest.raises(runs.UserError, match=r"00000000-00000004.npz cannot be read .* delete it, and the command"):
        runs.sample_set(path)
    shard.rename(path / "00000000-00000005.npz")
    (path / "00000000-00000005.npz").write_bytes(good)
    with pytest.raises(ValueError, match=r"does not hold 5 rows"):
        data.files.load_arrays("train", path=str(path))
    for arguments, said in (
        (("--num_samples=0",), "--num_samples must be >= 1, got 0"),
        (("--batch_size=0",), "--batch_size must be >= 1, got 0"),
        (("--seed=-1",), "--seed must be >= 0, got -1"),
        (("--label=1", "--labels=drawn"), "give --label for one class or --labels for all of them, not both"),
        (("--label=ten",), "--label must be in 0..9"),
    ):
        code, _, err = command("--workdir", digits_run, "--mode=sample", *arguments)
        assert code == 2 and said in err and err.count("\n") == 1
    assert not (digits_run / "generated").exists()
