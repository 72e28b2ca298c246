"""Reflow: pairs of a trained run by its ODE, resumed and exact; training on them, again, and into one step."""

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import build_conditions, build_data, data, resolve, runs, samplers, sharding
from diffax import config as settings
from diffax.data import shards
from diffax.jobs import reflow
from diffax.runs import DataDescription, Model, sample_sets, trained
from tests.jobs.test_launch import POINTS, config
from tests.runs.test_sample_sets import Killed, killed_at

SHORT = (
    "--config.model.name=tests.tiny:Network",
    *POINTS[2:],
    "--config.train.num_steps=2",
)
FLOW = ("--config", config("spiral_flow"), *SHORT)


def pairs_of(command, run, *arguments):
    code, out, err = command("--workdir", run, "--mode=reflow", "--num_samples=60", *arguments)
    assert code == 0, err
    [path] = (run / "pairs").iterdir()
    assert f"--config.data.name=pairs --config.data.path={path}" in out
    return path


def on(pairs, workdir, *arguments):
    settings = ("--config.data.name=pairs", f"--config.data.path={pairs}")
    return (*FLOW, "--workdir", workdir, *settings, *arguments)


def test_reflow_is_repeated_and_distilled_and_pairs_of_another_model_are_refused(command, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert command(*FLOW, "--workdir", first)[0] == 0
    pairs = pairs_of(command, first)
    # The samples are where the ODE of the run takes the noise.
    model, opened = runs.open(first), runs.sample_set(pairs)
    noise, samples = opened.examples.eps, opened.examples.examples
    table = samplers.euler(model.schedule, [1.0, 0.5, 0.0])
    expected = samplers.run(None, model.denoiser(), table, jnp.asarray(noise))
    np.testing.assert_allclose(samples, expected, atol=1e-5)
    # Standard normal: the standard error of 120 numbers' mean is 0.09, of their variance 0.13.
    assert abs(noise.mean()) < 0.4 and abs(noise.var() - 1) < 0.5

    distill = ("--config.loss.time_density=fixed", "--config.sampler.num_steps=1")
    code, out, err = command(*on(pairs, second, "--init_from", first, *distill))
    assert code == 0 and "of 60" in out and "parameter arrays" in out, err
    again = pairs_of(command, second)
    np.testing.assert_array_equal(
        data.pairs.load_pairs("all", path=str(second)).eps, runs.sample_set(again).examples.eps
    )
    assert runs.sample_set(again).description["sampler"]["num_steps"] == 1
    code, _, err = command(*on(again, tmp_path / "third", "--init_from", first))
    assert code == 2 and "were made by another model (step 2): make pairs of this one" in err and err.count("\n") == 1
    for arguments, said in (
        (
            ("--sampler=ddpm",),
            "pairs need a sampler that makes each sample of its initial noise alone, and DDPM(small)",
        ),
        (("--num_samples=0",), "--num_samples must be >= 1, got 0"),
        (("--seed=-1",), "--seed must be >= 0, got -1"),
    ):
        code, _, err = command("--workdir", first, "--mode=reflow", *arguments)
        assert code == 2 and said in err and err.count("\n") == 1
    # A set of samples has no noise to be paired with.
    assert command("--workdir", first, "--mode=sample", "--num_samples=4")[0] == 0
    [plain] = (first / "generated").iterdir()
    code, _, err = command(*on(plain, tmp_path / "none"))
    assert code == 2 and "holds samples without the noise that they came from" in err


def test_pairs_of_images_are_floats_with_labels_and_a_killed_set_goes_on(command, tmp_path, monkeypatch):
    monkeypatch.setattr(sample_sets, "_SHARD", 8)
    run, plain = tmp_path / "run", ("--config.optimizer.name=adam", "--config.sampler.guidance=none")
    code, _, err = command("--config", config("digits_conditional"), "--workdir", run, *SHORT, *plain)
    assert code == 0, err
    model = runs.open(run)
    whole = sample_sets.fill(model, tmp_path / "whole", 20, batch_size=4, with_noise=True)
    with pytest.raises(Killed):
        sample_sets.fill(model, tmp_path / "again", 20, batch_size=4, with_noise=True, report=killed_at(13))
    [again] = (tmp_path / "again").iterdir()
    assert shards.count(again) == 8
    sample_sets.fill(model, tmp_path / "again", 20, batch_size=4, with_noise=True)
    first, second = (runs.sample_set(path).examples for path in (whole, again))
    for name in ("examples", "eps", "labels"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.examples.dtype == np.float32 and (first.num_levels, first.num_classes) == (17, 10)
    np.testing.assert_array_equal(first.labels, np.arange(20) % 10)
    drawn = model.draw(20, batch_size=4)
    np.testing.assert_allclose(first.examples, drawn, atol=1e-6)
    described = json.loads((whole / shards.DESCRIPTION).read_text())
    assert described["rounding"] is None and described["step"] == 2 and described["sampler"]["name"] == "ddim"
    # The noise is that of `prior`, whatever batch it is drawn in.
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 3), i))(jnp.arange(20))
    prior_keys = jax.vmap(lambda key: jax.random.split(key, 2)[0])(keys)
    np.testing.assert_allclose(first.eps, samplers.prior(prior_keys, model.model.sampler_table(), (8, 8, 1)), atol=1e-6)


def test_the_conditions_of_a_pair_are_kept_with_it(tmp_path):
    """Labels and vectors of random training examples; training on the pairs is told the same, of the same kinds."""
    overrides = {"data": "tests.told:points", "model": "mlp", "model.hidden": "8", "model.depth": "1"}
    overrides |= {"schedule": "flow", "parameterization": "flow", "sampler.num_steps": "2"}
    overrides |= {"conditions.label.drop": "0", "conditions.place": "vector"}
    before = resolve.resolve(resolve.override(settings.default(), overrides.items()))
    model = Model.build(before, DataDescription.of(before, build_data.dataset(before, "train")))
    params = model.init_params(jax.random.key(0))
    one = trained.Trained(model, 0, lambda index: params, sharding.make_mesh(devices=jax.devices()[:1]))
    asked = reflow._conditions(one, argparse.Namespace(num_samples=60, seed=0))
    path = sample_sets.fill(one, tmp_path, 60, batch_size=60, wanted=asked, with_noise=True)

    after = resolve.resolve(resolve.override(before, {"data": "pairs", "data.path": str(path)}.items()))
    pairs = build_data.dataset(after, "train")
    assert build_conditions.kinds(after, pairs) == dict(model.network.conditions)
    batch = pairs.batch(np.arange(49))
    for name in ("label", "place"):
        np.testing.assert_array_equal(batch[name], asked.values[name][:49])
    told = {name: jnp.asarray(batch[name]) for name in ("label", "place")}
    table = model.sampler_table()
    expected = samplers.run(None, one.denoiser(condition=told), table, jnp.asarray(batch["eps"]))
    np.testing.assert_allclose(batch["x"], expected, atol=1e-5)
