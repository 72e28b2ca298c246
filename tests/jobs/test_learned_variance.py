"""A model with a learned variance from the command line: trained at adaptive times, stopped, continued, sampled."""

import pathlib
import shutil

import numpy as np

from diffax import runs
from experiments.torture import killing

SPIRAL = pathlib.Path(__file__).parents[2] / "configs" / "spiral.py"
SMALL = (
    "--config.model.hidden=8",
    "--config.model.depth=1",
    "--config.loss.name=hybrid",
    "--config.loss.decoder=gaussian",
    "--config.loss.num_steps=4",
    "--config.loss.stratified=False",
    "--config.loss.time_density.name=loss_second_moment",
    "--config.loss.time_density.num_steps=4",
    "--config.loss.time_density.history_length=3",
    "--config.train.batch_size=16",
    "--config.train.log_every=1",
    "--config.train.checkpoint_every=3",
    "--config.evaluators.samples.every=1000",
    "--config.evaluators.held_out_loss.every=3",
    "--config.optimizer.warmup_steps=0",
    "--config.optimizer.decay=constant",
    "--config.sampler.name=ancestral",
    "--config.sampler.num_steps=2",
)


def test_it_goes_on_exactly_and_is_sampled_with_any_number_of_steps(command, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train = ("--config", SPIRAL, *SMALL)
    code, _, err = command(*train, "--workdir", whole, "--config.train.num_steps=6")
    assert code == 0, err
    for num in (3, 6):
        code, out, err = command(*train, "--workdir", halves, f"--config.train.num_steps={num}")
        assert code == 0, err
    assert "from the checkpoint of step 3" in out
    assert killing.differences(whole, halves, 6) == []
    history = [path for path in killing.arrays(whole, 6) if "history" in path]
    assert len(history) == 2, "losses and counts"

    trained = runs.open(whole)
    assert trained.network.module.out_dim == 4
    sample = ("--workdir", whole, "--mode=sample", "--num_samples=5", "--config.sampler.name=ancestral")
    for num in (3, 7):
        code, _, err = command(*sample, f"--config.sampler.num_steps={num}")
        assert code == 0, err
        [path] = (whole / "generated").iterdir()
        drawn = runs.sample_set(path).examples.examples
        assert drawn.shape == (5, 2) and np.isfinite(drawn).all()
        shutil.rmtree(path)
