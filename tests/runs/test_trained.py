"""A trained model, opened without its data: from a directory that was moved, by the command line and by code."""

import json
import os
import re
import shutil
import warnings

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp
from PIL import Image

from diffax import runs, samplers
from diffax.runs import UserError
from tests.jobs import test_launch
from tests.jobs.test_launch import config

TINY = (
    "--config.model.name=tests.tiny:Network",
    "--config.optimizer.name=adam",
    "--config.train.batch_size=4",
    "--config.train.num_steps=2",
    "--config.optimizer.warmup_steps=0",
    "--config.optimizer.decay=constant",
    "--config.evaluators.samples.num_samples=4",
    "--config.sampler.num_steps=2",
)
TWO_STEPS = "--config.train.num_steps=2"
EVALUATED_POINTS = (*test_launch.EVALUATED_POINTS, TWO_STEPS)
POINTS = (*test_launch.POINTS, TWO_STEPS)


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    return tmp_path_factory.mktemp("trained") / "run"


@pytest.fixture
def folder_run(command, trained_once, tmp_path):
    """A class-conditional run on a folder of pictures, which is gone."""
    if not trained_once.exists():
        rng = np.random.default_rng(0)
        for split in ("train", "test"):
            for name in ("cat", "dog"):
                folder = tmp_path / "pictures" / split / name
                folder.mkdir(parents=True)
                for i in range(3):
                    Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        data = ["--config.data.name=folder", f"--config.data.path={tmp_path / 'pictures'}"]
        code, _, err = command("--config", config("digits_conditional"), "--workdir", trained_once, *data, *TINY)
        assert code == 0, err
        shutil.rmtree(tmp_path / "pictures")
    shutil.copytree(trained_once, tmp_path / "run")
    return tmp_path / "run"


def test_a_run_whose_data_are_gone_is_sampled_from_anywhere(command, folder_run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(folder_run, elsewhere / "copy")
    os.chdir(elsewhere)
    code, _, err = command("--workdir", "copy", "--mode=sample", "--num_samples=3", "--label=1", "--num_steps=3")
    assert code == 0, err
    [path] = (elsewhere / "copy" / "generated").iterdir()
    drawn = runs.sample_set(path).examples
    assert drawn.examples.shape == (3, 8, 8, 3) and drawn.labels.tolist() == [1, 1, 1]
    assert Image.open(path / "preview.png").mode == "RGB"
    # Another label is another set.
    assert command("--workdir", "copy", "--mode=sample", "--num_samples=3", "--label=0", "--num_steps=3")[0] == 0
    assert len(list((elsewhere / "copy" / "generated").iterdir())) == 2


def test_a_trained_model_by_code(folder_run):
    trained = runs.open(folder_run)
    assert trained.sample_shape == (8, 8, 3) and trained.num_classes == 2 and trained.num_levels == 256
    assert trained.step == 2 and trained.averages == ("constant",)
    assert trained.config.data.name == "folder" and type(trained.schedule).__name__ == "Cosine"
    keys = jax.random.split(jax.random.key(3), 4)
    drawn = trained.sample(keys, num_steps=3, sampler="dpm_solver_multistep", label=1)
    assert drawn.shape == (4, 8, 8, 3) and np.isfinite(drawn).all()
    # A sample is a function of its key and its label alone.
    alone = trained.sample(keys[2:3], num_steps=3, sampler="dpm_solver_multistep", label=1)
    np.testing.assert_allclose(alone[0], drawn[2], atol=1e-5)
    other = trained.sample(keys, num_steps=3, sampler="dpm_solver_multistep", label=np.array([1, 0, 1, 1]))
    assert np.abs(other[1] - drawn[1]).max() > 0 and np.allclose(other[0], drawn[0], atol=1e-5)
    # The same by hand: the denoiser is one like any other.
    plain = trained.with_sampler("dpm_solver_multistep", num_steps=3)
    denoiser = plain.denoiser(average=0, condition={"label": np.ones(4, np.int32)})
    table = plain.model.sampler_table()
    prior_keys, noise_keys = (jax.numpy.stack([jax.random.split(key)[i] for key in keys]) for i in (0, 1))
    by_hand = samplers.run(noise_keys, denoiser, table, samplers.prior(prior_keys, table, (8, 8, 3)))
    np.testing.assert_allclose(by_hand, drawn, atol=1e-5)


def test_settings_of_a_trained_model_that_do_not_exist(folder_run):
    trained, keys = runs.open(folder_run), jax.random.split(jax.random.key(0), 2)
    for options, message in (
        ({"sampler": "no_such"}, "sampler.name must be one of ddim"),
        ({"sampler": "unipc", "variante": "bh1"}, "no option variante, but order, variant"),
        ({"num_steps": 0}, "sampler.num_steps must be >= 1, got 0"),
        ({"label": "bird"}, "--label must be in 0..1 or one of cat, dog, got bird"),
        ({"label": 2}, "--label must be in 0..1 or one of cat, dog, got 2"),
        ({"average": "slow"}, "there is no average 'slow': the averages of config.ema are 0 (constant)"),
        ({"sampler": "ancestral"}, "needs a network with learned variance"),
    ):
        with pytest.raises(UserError) as error:
            trained.sample(keys, **options)
        assert message in str(error.value), str(error.value)


def test_one_average_is_read_and_nothing_else(command, tmp_path, monkeypatch):
    averages = ("--config.ema.power.length=0.05", "--config.ema.half_life.images=40")
    run = tmp_path / "run"
    assert command("--config", config("spiral"), "--workdir", run, *POINTS, *averages)[0] == 0
    asked, load = [], ocp.load
    monkeypatch.setattr(ocp, "load", lambda path, like: asked.append(jax.tree.leaves(like)) or load(path, like))
    trained = runs.open(run)
    network = jax.eval_shape(lambda key: trained.network.init(key, (2,)), jax.random.key(0))
    num_params = sum(leaf.size for leaf in jax.tree.leaves(network))
    saved = jax.tree.leaves(ocp.metadata(run / "checkpoints" / "2").metadata)
    # Parameters, Adam's two moments and three averages are saved; one average is read.
    assert sum(leaf.size for leaf in asked[0]) == num_params
    assert sum(int(np.prod(leaf.shape)) for leaf in saved) > 6 * num_params and len(asked[0]) * 6 < len(saved)
    assert len(asked) == 1
    trained.params("constant"), trained.params(0)
    assert len(asked) == 1  # it is kept
    assert not np.array_equal(jax.tree.leaves(trained.params("power"))[0], jax.tree.leaves(trained.params(1))[0])
    assert len(asked) == 3
    assert jax.tree.structure(trained.params()) == jax.tree.structure(network)


def test_training_and_sampling_use_the_same_objects(folder_run):
    model = runs.open(folder_run).model
    assert model.hyperparameters.schedule is model.schedule
    assert model.hyperparameters.parameterization is model.parameterization
    assert model.hyperparameters is model.hyperparameters and model.loss is model.loss


def test_evaluators_of_ones_own(command, tmp_path):
    own = (
        "--config.evaluators.mine.name=tests.tiny:distance_to_origin",
        "--config.evaluators.mine.every=1",
        "--config.evaluators.mine.num_samples=3",
        "--config.evaluators.bad.name=tests.tiny:fails",
        "--config.evaluators.sample_metrics.num_samples=8",
        "--config.evaluators.sample_metrics.metrics=('frechet','sliced_wasserstein')",
        "--config.train.best=distance_to_origin",
        "--config.train.best_is=highest",
    )
    run = tmp_path / "run"
    with pytest.warns(UserWarning, match=r"evaluator bad at step 2: RuntimeError: no luck; training goes on"):
        code, out, err = command("--config", config("spiral"), "--workdir", run, *POINTS, *own)
    assert code == 0 and "done" in out, err
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    values = {line["step"]: line["distance_to_origin"] for line in lines if "distance_to_origin" in line}
    assert sorted(values) == [1, 2]
    merged = {key: value for line in lines for key, value in line.items()}
    assert merged["before_failing"] == 1.5
    assert merged["sliced_wasserstein/pixels@8"] > 0 and merged["frechet/pixels@8"] > 0
    assert sorted(path.name for path in (run / "blank").iterdir()) == ["00000001.png", "00000002.png"]
    metric = {int(path.parent.name): json.loads(path.read_text())["metric"] for path in run.rglob("description.json")}
    assert metric[2] == values[2] and (1 in metric)  # the first measured step is the best so far


@pytest.mark.parametrize(
    "source", ["planes", "planes.channels=2", "planes.channels=1", "solids", "solids.dim=1", "solids.dim=4"]
)
def test_data_of_any_number_of_channels_or_dimensions_are_trained_on_and_looked_at(command, tmp_path, source):
    name, _, option = source.partition(".")
    run, own = tmp_path / "run", (f"--config.data.name=tests.tiny:{name}", "--config.model.name=tests.tiny:Network")
    options = (*own, *([f"--config.data.{option}"] if option else []), "--config.train.num_steps=2")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # an evaluator that failed
        code, out, err = command("--config", config("spiral"), "--workdir", run, *options, *EVALUATED_POINTS[2:])
    assert code == 0 and "done" in out, err
    assert (run / "samples" / "00000002.png").exists()
    code, out, err = command("--workdir", run, "--mode=sample", "--num_samples=5")
    assert code == 0 and len(list((run / "generated").glob("*/preview.png"))) == 1, err
    code, out, err = command("--config", config("spiral"), "--workdir", run, *options, "--mode=inspect_data")
    assert code == 0 and (tmp_path / "run_data.png").exists(), err


def test_no_file_of_samples_overwrites_another(command, tmp_path):
    """Whatever makes other samples is in the name."""
    run = tmp_path / "run"
    averages = ("--config.ema.slow.name=constant", "--config.ema.slow.decay=0.9")
    assert command("--config", config("spiral"), "--workdir", run, *POINTS, *averages)[0] == 0
    different = (
        (),
        ("--num_steps=3",),
        ("--seed=1",),
        ("--sampler=ddpm",),
        ("--ema=slow",),
        ("--config.sampler.eta=0.5",),
        ("--config.sampler.eta=1.0",),
        ("--config.sampler.grid.start=0.9",),
        ("--config.sampler.grid=log_snr", "--config.sampler.grid.start=0.9", "--config.sampler.grid.end=0.01"),
        ("--config.sampler.epsilon_scale=1.01",),
        ("--config.sampler.thresholding=thresholded",),
    )
    for count, options in enumerate(different, start=1):
        code, _, err = command("--workdir", run, "--mode=sample", "--num_samples=3", *options)
        assert code == 0 and len(list((run / "generated").iterdir())) == count, (options, err)
    # The same samples have the same name.
    for options in (
        (),
        ("--ema=0",),
        ("--ema=constant",),
        ("--batch_size=2",),
        ("--config.sampler.eta=0",),
        ("--num_samples=5",),
    ):
        code, _, err = command("--workdir", run, "--mode=sample", "--num_samples=3", *options)
        assert code == 0 and len(list((run / "generated").iterdir())) == count, (options, err)


def test_guidance_without_dropped_labels_is_warned_of_once(command, folder_run, tmp_path):
    said = r"sampler.guidance = '.*' needs the prediction without 'label', which this model never learned"
    recorded = json.loads((folder_run / "config.json").read_text())
    recorded["conditions"]["label"]["drop"] = 0.0
    recorded["sampler"]["guidance"] = {"name": "none"}
    (folder_run / "config.json").write_text(json.dumps(recorded))

    def warned(function):
        with warnings.catch_warnings(record=True) as caught:
            warnings.resetwarnings()
            warnings.simplefilter("default")
            function()
        return [str(warning.message) for warning in caught if re.match(said, str(warning.message))]

    keys = jax.random.split(jax.random.key(0), 2)
    trained = runs.open(folder_run)
    assert not warned(lambda: trained.sample(keys))
    assert not warned(lambda: trained.sample(keys, guidance_scale=1.0))
    assert len(warned(lambda: trained.with_sampler(guidance_scale=1.5).sample(keys))) == 1
    assert len(warned(lambda: trained.with_sampler(guidance="cfg_plus_plus", **{"guidance.scale": 1.0}))) == 1
    job = ("--workdir", folder_run, "--mode=sample", "--num_samples=2", "--guidance_scale=3")
    assert len(warned(lambda: command(*job))) == 1


@pytest.mark.parametrize(("best_is", "kept"), [("highest", {"1", "3"}), ("lowest", {"3"})])
def test_best_is(command, tmp_path, best_is, kept):
    """Of a value that falls at every step, the highest is the first, and the lowest the last."""
    own = ("evaluators.mine.name=tests.tiny:minus_step", "evaluators.mine.every=1", "train.best=minus_step")
    own += (f"train.best_is={best_is}", "train.keep_checkpoints=1", "train.num_steps=3")
    run = tmp_path / "run"
    code, _, err = command("--config", config("spiral"), "--workdir", run, *POINTS, *(f"--config.{one}" for one in own))
    assert code == 0, err
    assert {path.name for path in (run / "checkpoints").iterdir()} == kept


def test_a_run_starts_from_another(command, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    spiral = ("--config", config("spiral"), *POINTS)
    assert command(*spiral, "--workdir", first)[0] == 0
    # A class-conditional or deeper network has a few more parameters.
    deeper = ("--config.model.depth=2", "--config.train.num_steps=1", "--config.optimizer.learning_rate=1e-12")
    code, out, err = command(*spiral, "--workdir", second, *deeper, "--init_from", first)
    assert code == 0, err
    assert "--init_from" in out and "new: layer_1_1/bias, layer_1_1/kernel" in out
    given, got = runs.open(first).params(), runs.open(second).params()
    for name in ("first", "last", "layer_0_1"):
        np.testing.assert_allclose(got[name]["kernel"], given[name]["kernel"], atol=1e-9)
    # Continued, it goes on from its own checkpoint.
    code, out, _ = command(*spiral, "--workdir", second, *deeper, "--config.train.num_steps=2", "--init_from", first)
    assert code == 0 and "from the checkpoint of step 1" in out and "new:" not in out
    code, _, err = command(*spiral, "--workdir", tmp_path / "third", "--config.model.hidden=16", "--init_from", first)
    assert code == 2 and "has other shapes: embedding/time_1/" in err and err.count("\n") == 1
    assert not (tmp_path / "third").exists()
    other = ("--config.model.hidden=16", "--config.model.time_input=unscaled", "--init_from", first)
    with pytest.warns(UserWarning, match=r"with model\.time_input = 'log_snr', and this run has 'unscaled'"):
        assert command(*spiral, "--workdir", tmp_path / "third", *other)[0] == 2
    code, _, err = command(*spiral, "--workdir", tmp_path / "third", "--init_from", tmp_path / "nowhere")
    assert code == 2 and "nowhere is no run's directory" in err and not (tmp_path / "third").exists()


def test_runs_of_another_version_are_refused_by_its_name(command, folder_run):
    (folder_run / "model.json").unlink()
    environment = json.loads((folder_run / "environment.json").read_text())
    environment["packages"]["diffax"], environment["git_commit"] = "0.1.0", "0123456789abcdef"
    (folder_run / "environment.json").write_text(json.dumps(environment))
    for mode in ("sample", "show"):
        code, out, err = command("--workdir", folder_run, "--mode", mode)
        assert code == 2 and out == "" and err.count("\n") == 1
        assert "was made by diffax 0.1.0 (commit 0123456789), whose runs diffax " in err
    with pytest.raises(UserError, match=r"made by diffax 0\.1\.0"):
        runs.open(folder_run)


def test_damage_of_what_the_data_gave_is_named(folder_run):
    (folder_run / "model.json").write_text('{"format": 3}')
    with pytest.raises(UserError, match=r"model\.json cannot be read"):
        runs.open(folder_run)


def test_a_config_json_that_a_later_default_would_change_keeps_its_own(command, tmp_path):
    """Defaults are recorded: every option that the run resolved is in config.json."""
    run = tmp_path / "run"
    assert command("--config", config("spiral"), "--workdir", run, *POINTS)[0] == 0
    recorded = json.loads((run / "config.json").read_text())
    assert recorded["optimizer"]["b2"] == 0.999 and recorded["model"]["time_features"]["max_period"] == 10000.0
    assert recorded["sampler"]["grid"] == {"name": "uniform", "start": 1.0, "end": 0.0}


def test_show(command, tmp_path):
    code, out, err = command("--config", config("digits"), "--mode=show", "--config.loss.weighting=min_snr")
    assert code == 0, err
    assert "* loss.weighting.name = 'min_snr'   (or uniform, snr, truncated_snr, p2," in out
    assert "* loss.weighting.gamma = 5.0" in out and "  sampler.eta = 0.0" in out
    code, out, _ = command("--config", config("digits"), "--mode=show", "--of", "sampler")
    assert code == 0 and "unipc" in out and "order=3, variant='bh2', predict='x_0', lower_order_final=True" in out
    code, _, err = command("--config", config("digits"), "--mode=show", "--of", "train")
    assert code == 2 and "--of must be one of data, data.augment," in err
    assert list(tmp_path.iterdir()) == []
