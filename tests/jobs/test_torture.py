"""A small run killed three times, once in the middle of a save; experiments/torture does it to the digits 50 times."""

import pathlib
import sys

import pytest

from experiments.torture import killing

SPIRAL = pathlib.Path(__file__).parents[2] / "configs" / "spiral.py"
STEPS = 300
SMALL = [
    "--config.model.hidden=8",
    "--config.model.depth=1",
    "--config.train.batch_size=16",
    f"--config.train.num_steps={STEPS}",
    "--config.train.log_every=7",
    "--config.train.checkpoint_every=20",
    f"--config.evaluators.samples.every={STEPS // 2}",
    f"--config.evaluators.held_out_loss.every={STEPS // 2}",
    "--config.sampler.num_steps=2",
]


@pytest.mark.skipif(sys.platform == "win32", reason="kills the POSIX way")
def test_killed_at_random_moments_it_is_the_run_that_was_left_alone(tmp_path):
    def command(name):
        return ["--config", str(SPIRAL), "--workdir", str(tmp_path / name), *SMALL]

    undisturbed = killing.start(command("undisturbed"), tmp_path / "undisturbed.out", tmp_path / "cache")
    undisturbed.join()
    assert undisturbed.exitcode == 0, (tmp_path / "undisturbed.out").read_text()
    tally = killing.torture(
        command("tortured"), tmp_path / "tortured", kills=3, mean_advance=30, seed=0, cache=tmp_path / "cache"
    )
    assert tally.starts == 4 and tally.kills == 3 and tally.during_saves >= 1
    assert killing.differences(tmp_path / "undisturbed", tmp_path / "tortured", STEPS) == []
