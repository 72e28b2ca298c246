"""--mode evaluate: grids of samplers and evaluations to one table; nothing is drawn or measured twice."""

import json
import shutil

import numpy as np
import pytest

from diffax import data, runs
from diffax.evaluation import frechet
from diffax.evaluation.moments import Moments
from diffax.runs import grid, sample_sets
from tests.jobs.test_launch import POINTS, config

FEW = ("--num_samples=200", "--config.evaluation.reference_size=300", "--metrics=frechet,energy")


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    return tmp_path_factory.mktemp("spiral") / "run"


@pytest.fixture
def run(command, trained_once, tmp_path):
    """A run on points with two averages."""
    if not trained_once.exists():
        averages = ("--config.ema.slow.name=constant", "--config.ema.slow.decay=0.9")
        code, _, err = command("--config", config("spiral"), "--workdir", trained_once, *POINTS, *averages)
        assert code == 0, err
    shutil.copytree(trained_once, tmp_path / "run")
    return tmp_path / "run"


def results(run):
    """{directory: results.json} of the evaluations of a run."""
    return {path.parent: json.loads(path.read_text()) for path in (run / "evaluations").glob("*/results.json")}


def test_a_grid_is_one_table_and_is_continued(command, run):
    asked = ("--workdir", run, "--mode=evaluate", *FEW, "--samplers=ddim,heun", "--evaluations=3,8", "--seeds=0,1")
    code, out, err = command(*asked)
    assert code == 0, err
    [(directory, found)] = results(run).items()
    values = found["measurements"]
    assert len(values) == 2 * 2 * 2 and {one["metric"] for one in values} == {"frechet/pixels@200", "energy/pixels@200"}
    made = {(one["sampler"], one["num_evaluations"]) for one in values}
    assert made == {("ddim", 3), ("ddim", 8), ("heun", 2), ("heun", 8)}  # two evaluations a step
    assert all(one["seeds"] == [0, 1] and one["standard_error"] > 0 and one["n"] == 200 for one in values)
    assert values[0]["settings"]["reference"].endswith("300 of the train examples")
    assert (directory / "quality.png").exists() and "frechet/pixels@200" in out
    sets = {path: path.stat().st_mtime_ns for path in (run / "generated").glob("*/*")}
    assert len(list((run / "generated").iterdir())) == 8
    # The same again draws and measures nothing; one average more draws its own.
    assert command(*asked)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in (run / "generated").glob("*/*")} == sets
    code, out, err = command("--workdir", run, "--mode=evaluate", *FEW, "--averages=constant,slow", "--evaluations=3")
    assert code == 0 and "average" in out, err
    assert len(list((run / "generated").iterdir())) == 9 and len(results(run)) == 2


def test_the_value_is_that_of_the_samples(command, run):
    code, _, err = command("--workdir", run, "--mode=evaluate", "--num_samples=200", "--metrics=frechet")
    assert code == 0, err
    [found] = results(run).values()
    [path] = (run / "generated").iterdir()
    x = runs.sample_set(path).examples.examples
    train = data.toy.load("swiss_roll", "train").examples
    expected = frechet.distance(Moments.of(x), Moments.of(train))
    np.testing.assert_allclose(found["measurements"][0]["value"], expected, rtol=1e-9)


def test_what_is_selected_is_measured_again_on_other_samples(command, run):
    asked = ("--workdir", run, "--mode=evaluate", *FEW, "--evaluations=2,6")
    code, out, err = command(*asked, "--select=frechet")
    assert code == 0, err
    said = "selected among 2 by frechet/pixels@200 on seeds 0; measured again on seeds 1, 2, 3"
    assert said in out
    [found] = results(run).values()
    chosen = found["selection"]["measurements"][0]
    best = min(found["measurements"][::2], key=lambda one: one["value"])
    assert chosen["seeds"] == [1, 2, 3] and chosen["num_evaluations"] == best["num_evaluations"]
    code, _, err = command(*asked, "--select=frechet", "--report_seeds=0,1")
    assert code == 2 and "--report_seeds 0, 1 and --seeds share 0: samples that choose cannot also report" in err


def test_samples_of_other_codebases_stand_in_the_same_table(command, run, tmp_path):
    x = np.random.default_rng(0).standard_normal((250, 2)).astype(np.float32)
    np.save(tmp_path / "theirs.npy", x)
    code, out, err = command("--workdir", run, "--mode=evaluate", *FEW, "--sets", tmp_path / "theirs.npy")
    # They do not say how their labels were chosen, nor do points have classes: they may be compared.
    assert code == 0 and "theirs" in out, err
    np.save(tmp_path / "theirs.npy", x[:100])
    code, _, err = command("--workdir", run, "--mode=evaluate", *FEW, "--sets", tmp_path / "theirs.npy")
    assert code == 2 and "theirs has 100 samples, and 200 are to be measured" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--metrics=fid",), "there is no metric 'fid', but frechet, "),
        (("--features=vgg",), "evaluation.features.name must be one of pixels, classifier, "),
        (("--features=classifier",), "the features need classes, and swiss_roll/train has no labels"),
        (("--evaluations=many",), "expected numbers separated by commas, got 'many'"),
        (("--samplers=dream",), "sampler.name must be one of ddim, "),
        (("--averages=fast",), "there is no average 'fast'"),
        (("--guidance_scales=2",), "needs a conditional model"),
        (("--metrics=label_agreement",), "label_agreement needs labels"),
        (("--config.evaluation.reference=test",), "evaluation.reference must be train or held_out, got 'test'"),
        (("--batch_size=0",), "--batch_size must be >= 1, got 0"),
        (("--seeds=0,-1",), "--seeds must be whole numbers >= 0, got 0, -1"),
        (("--seeds=",), "--seeds must be whole numbers >= 0, got none"),
        (("--evaluations=5,0",), "--evaluations must be whole numbers >= 1, got 5, 0"),
        (("--num_samples=1",), "evaluation.num_samples must be >= 2, got 1"),
        (("--select=fid",), "--select fid must be one of the values measured: frechet/pixels@200, energy/pixels@200"),
        (("--runs=nowhere",), "nowhere is no run's directory"),
    ],
)
def test_bad_requests_are_one_clear_line(command, run, arguments, said):
    code, _, err = command("--workdir", run, "--mode=evaluate", *FEW, *arguments)
    lines = [line for line in err.splitlines() if not line.startswith(("evaluate: ", "warning: "))]
    assert code == 2 and len(lines) == 1 and said in lines[0], err
    assert not (run / "evaluations").exists()


def test_as_many_steps_as_the_evaluations_allow(run):
    model = runs.open(run)
    for sampler, number, expected in (("ddim", 7, 7), ("heun", 7, 6), ("heun", 8, 8), ("ddim", 1, 1)):
        [one] = grid.candidates("run", run, model, samplers=[sampler], evaluations=[number])
        assert one.subject()["num_evaluations"] == expected, (sampler, number)
    names = [one.average for one in grid.candidates("run", run, model, averages=["slow", "0"])]
    assert names == ["slow", "constant"]
    assert sample_sets.describe(model, seed=0, labels="equal")["labels"] is None


def test_metrics_in_features_that_were_trained_on_are_marked(command, tmp_path):
    run = tmp_path / "run"
    loss = ("--config.loss.name=frechet_distance", "--config.schedule=flow", "--config.parameterization=flow")
    more = ("--config.sampler.num_steps=1",)
    code, _, err = command("--config", config("spiral"), "--workdir", run, *POINTS, *loss, *more)
    assert code == 0, err
    few = ("--num_samples=50", "--config.evaluation.reference_size=60", "--metrics=energy")
    code, out, err = command("--workdir", run, "--mode=evaluate", *few)
    assert code == 0, err
    [found] = results(run).values()
    assert found["measurements"][0]["remark"] == "trained on these features"
    assert "(trained on these features)" in out
    code, _, err = command("--workdir", run, "--mode=sample", "--num_samples=2", "--config.sampler.num_steps=2")
    assert code == 2 and "trains a generator of one evaluation, at t = 1: set sampler.num_steps=1" in err
    # A flow map becomes such a generator too; its second time is not left out at sampling.
    two_times = (*POINTS, *loss, *more, "--config.loss.two_times=True", "--workdir", tmp_path / "two_times")
    code, _, err = command("--config", config("spiral"), *two_times)
    assert code == 2 and "with two_times trains a network of two times: set sampler.name=flow_map, got 'ddim'" in err
    code, _, err = command("--config", config("spiral"), *two_times, "--config.sampler.name=flow_map")
    assert code == 0, err
