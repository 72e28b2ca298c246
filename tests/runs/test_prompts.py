"""Whole runs of a model of a class, a sentence and a vector: trained, continued, planned, sampled by prompts."""

import json
import shutil

import jax
import numpy as np
import pytest

from diffax import runs
from diffax.runs import asked, editing
from experiments.torture import killing
from tests import told
from tests.jobs.test_launch import EVALUATED_POINTS, POINTS, config
from tests.text import own_encoders

ENCODER = "tests.text.own_encoders:lengths"
TOLD = (
    *("--config", config("spiral"), *EVALUATED_POINTS),
    "--config.data=tests.told:points",
    "--config.model=mlp",
    "--config.conditions.label=label",
    "--config.conditions.text=text",
    f"--config.conditions.text.encoder={ENCODER}",
    "--config.conditions.place=vector",
    "--config.evaluators.samples.every=2",
    "--config.train.checkpoint_every=2",
    "--config.train.num_steps=4",
)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return tmp_path_factory.mktemp("told") / "run"


@pytest.fixture
def run(command, once, tmp_path, monkeypatch):
    """A trained run, to do things to."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(once.parent / "cache"))
    if not once.exists():
        code, out, err = command(*TOLD, "--workdir", once)
        assert code == 0 and "1 of 30 have no text: null there" in out, err
    shutil.copytree(once, tmp_path / "run")
    return tmp_path / "run"


def drawn(run):
    """{name of a sample set: its samples}."""
    sets = map(runs.sample_set, (run / "generated").iterdir())
    return {one.name: (one.description, one.examples.examples) for one in sets}


def test_stopped_and_continued_from_the_host_it_is_the_same_run(command, run, tmp_path):
    other = tmp_path / "other"
    command(*TOLD, "--workdir", other, "--config.train.num_steps=2", "--config.data.on_device=False")
    code, out, err = command(*TOLD, "--workdir", other, "--config.data.on_device=False")
    assert code == 0 and "from the checkpoint of step 2" in out, err
    assert killing.differences(run, other, 4) in ([], ["metrics.jsonl"])  # which has a line more, of the first end
    recorded = json.loads((run / "model.json").read_text())
    assert recorded["conditions"]["text"] == {"kind": "vector", "size": 2}
    assert recorded["encoders"]["text"]["name"] == ENCODER


def test_planned_and_encoded(command, run, tmp_path):
    code, out, err = command(*TOLD, "--workdir", tmp_path / "new", "--mode=plan")
    assert code == 0 and "a batch of 4" in out, err
    code, out, err = command(*TOLD, "--workdir", tmp_path / "new", "--mode=encode")
    assert code == 0 and "29 of 30 examples have one; Vector(size=2)" in out, err
    code, out, err = command(*TOLD, "--workdir", tmp_path / "new", "--mode=inspect_data")
    assert code == 0 and "the network is told text: Vector(size=2)" in out and "caption: texts" in out, err


def test_samples_by_prompts(command, run):
    """Each prompt in turn; what is told is in the set's description; with equal noise only the prompt differs."""
    prompts = ("--prompt", "red point", "--prompt", "a far blue point 2")
    sample = ("--workdir", run, "--mode=sample", "--num_samples=6")
    for more in (
        (),
        ("--same_noise",),
        ("--label=1",),
        ("--interpolate=3",),
        ("--guidance_scale=2", "--negative", "near"),
    ):
        code, out, err = command(*sample, *prompts, *more)
        assert code == 0 and "of 'red point', 'a far blue point 2' of step 4" in out, err
    code, _, err = command(*sample, *prompts, "--compose=2,1.5")
    assert code == 0, err
    sets = drawn(run)
    assert len(sets) == 6 and all("red-point" in name for name in sets)
    model, words = runs.open(run), ["red point", "a far blue point 2"]
    text = own_encoders.lengths(words).astype(np.float32)
    np.testing.assert_array_equal(model.encode(words), text)
    keys = jax.random.split(jax.random.key(0), 2)
    sampled = model.sample(keys, conditions={"text": model.encode(words)})
    assert (
        sampled.shape == (2, 2) and np.abs(sampled - model.sample(keys, conditions={"text": text[::-1]})).max() > 1e-4
    )
    line = np.array([text[0], text.mean(0), text[1]])  # interpolated
    compared = 0
    for described, x in sets.values():
        told = described["conditions"]
        assert told["prompts"] == words and described["encoders"]["text"]["name"] == ENCODER
        rows = next((rows for rows in (text, line) if told["digest"] == digest(rows)), None)
        if rows is None or "scales" in told:  # with a label, a negative prompt, or composed
            continue
        # Sample i has the row i % num, and noise i; or i // num where the noise is to be equal.
        noise = np.arange(6) // len(rows) if told.get("same_noise") else np.arange(6)
        expected = [
            model.draw(int(n) + 1, wanted=asked.Asked({"text": rows[[i % len(rows)]]}))[n] for i, n in enumerate(noise)
        ]
        np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-4)
        compared += 1
    assert compared == 3


def digest(text):
    return asked.Asked({"text": text}).record()["digest"]


def test_vectors_of_a_file(command, run, tmp_path):
    np.savez(tmp_path / "told.npz", place=np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 3.0]]))
    sample = ("--workdir", run, "--mode=sample", "--num_samples=6")
    code, _, err = command(*sample, "--context", tmp_path / "told.npz")
    assert code == 0, err
    [(described, x)] = drawn(run).values()
    place = np.tile(np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 3.0]], np.float32), (2, 1))
    np.testing.assert_allclose(x, runs.open(run).draw(6, wanted=asked.Asked({"place": place})), rtol=1e-5, atol=1e-5)
    assert described["conditions"]["context"].endswith("told.npz")
    for arrays, said in (
        ({"place": np.zeros((2, 3))}, r"'place' must be floats of shape (2, 2), got float32 of shape (2, 3)"),
        ({"place": np.full((2, 2), np.nan)}, "'place' must be finite, and is not in row 0"),
        ({"palce": np.zeros((2, 2))}, "there is no condition 'palce': the network takes label, place, text"),
        ({"place": np.zeros((2, 2)), "text": np.zeros((3, 2))}, "conditions must have equally many rows, got 2, 3"),
        ({}, "has no arrays; the model takes label, place, text"),
    ):
        np.savez(tmp_path / "told.npz", **arrays)
        code, _, err = command(*sample, "--context", tmp_path / "told.npz")
        assert code == 2 and said in err and len(drawn(run)) == 1, err


def test_points_of_a_class_are_edited_to_a_sentence(command, run, tmp_path):
    x = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
    np.savez(tmp_path / "points.npz", x=x)
    edit = ("--workdir", run, "--mode=edit", "--input", tmp_path / "points.npz", "--num_steps=4", "--guidance_scale=1")
    code, out, err = command(*edit, "--from=2", "--to", "a red point")
    assert code == 0 and "3 edited from 2 to a red point at strength 1 by UniPC2" in out, err
    [path] = (run / "edits").iterdir()
    model = runs.open(run).with_sampler("unipc", order=2, num_steps=4, guidance_scale=1.0)
    told = {"label": np.array([2], np.int32)}, {"text": model.encode(["a red point"])}
    expected = editing.edit(model, x, *told)
    with np.load(path / "results.npz") as arrays:
        np.testing.assert_allclose(arrays["samples"], expected.edited, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(arrays["reconstruction"], expected.reconstruction, rtol=1e-4, atol=1e-4)
        assert np.abs(arrays["samples"] - arrays["reconstruction"]).max() > 1e-3 and "labels" not in arrays
    assert (path / "picture.png").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--negative", "near"), "--negative needs --prompt"),
        (("--interpolate=3",), "--interpolate needs --prompt"),
        (("--prompt", "a", "--interpolate=3"), "--interpolate N needs N >= 2 and two conditions, got 3 and 1"),
        (("--prompt", "a", "--prompt", "b", "--compose=2"), "one scale for each of two prompts or more, got 1 for 2"),
        (("--prompt", "a", "--prompt", "b", "--compose=x,y"), "the prompts' guidance scales, as 2,1.5; got 'x,y'"),
        (("--prompt", "a", "--negative", "b"), "--negative and --compose need --guidance_scale"),
        (("--prompt", "a", "--context", "b"), "give --prompt or --context, not both"),
        (("--context", "nowhere.npz"), "--context nowhere.npz: not a .npz file of arrays"),
        (("--label=9",), "--label must be in 0..2"),
    ],
)
def test_flags_that_do_not_go_together(command, run, flags, said):
    code, _, err = command("--workdir", run, "--mode=sample", "--num_samples=2", *flags)
    assert code == 2 and said in err and not (run / "generated").exists(), err


def test_another_version_of_the_encoder_is_refused(command, run, monkeypatch):
    monkeypatch.setattr(own_encoders.lengths, "version", "2", raising=False)
    code, _, err = command("--workdir", run, "--mode=sample", "--num_samples=2", "--prompt", "a")
    assert code == 2 and "is version 2, and the model was trained with" in err


def test_a_prompt_to_a_model_without_text(command, tmp_path):
    command("--config", config("spiral"), "--workdir", tmp_path / "run", *POINTS)
    code, _, err = command("--workdir", tmp_path / "run", "--mode=sample", "--prompt", "a")
    assert code == 2 and "--prompt needs a model with one condition of texts; this one is told nothing" in err
    np.savez(tmp_path / "points.npz", x=np.zeros((3, 2), np.float32))
    edit = ("--workdir", tmp_path / "run", "--mode=edit", "--input", tmp_path / "points.npz")
    code, _, err = command(*edit, "--to=1")
    assert code == 2 and "--to 1 needs a model that is told classes or texts; this one is told nothing" in err
    assert not (tmp_path / "run" / "edits").exists()


def test_evaluated_under_the_conditions_of_real_examples(command, run):
    """Samples have conditions of random examples of the reference, pictures in training those of held-out ones."""
    evaluate = ("--workdir", run, "--mode=evaluate", "--metrics=energy", "--config.evaluation.num_samples=8")
    code, _, err = command(*evaluate)
    assert code == 0, err
    [(described, x)] = drawn(run).values()
    examples = told.points("train")
    rows = np.random.default_rng(0).integers(told.NUM, size=8)
    assert described["conditions"]["of"] == "8 random examples of told/train"
    captions = [examples.columns["caption"][row] for row in rows]
    text = own_encoders.lengths([wordings[0] if wordings else "" for wordings in captions]).astype(np.float32)
    places = [examples.columns["place"][row] for row in rows]
    place = np.array([np.zeros(2) if one is None else one for one in places], np.float32)
    values = {"label": examples.labels[rows], "text": text, "place": place}
    expected = runs.open(run).draw(8, wanted=asked.Asked(values))
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-4)
