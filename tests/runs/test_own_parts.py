"""experiments/own_parts: networks of Equinox and NNX, a data set and a weighting of a user's own, by launch.py."""

import json
import pathlib
import shutil

import pytest

from diffax import runs

ROOT = pathlib.Path(__file__).parents[2]
OWN = ROOT / "experiments" / "own_parts" / "own_parts.py"
SHORT = ("--config.train.num_steps=60", "--config.train.log_every=20", "--config.sampler.num_steps=3")


def test_the_file_is_short():
    assert len(OWN.read_text().splitlines()) <= 60


@pytest.mark.parametrize("network", ["Equinox", "Nnx"])
def test_a_network_of_another_library_is_trained_resumed_and_sampled(command, tmp_path, network):
    run = tmp_path / "run"
    own = ("--config", OWN, "--workdir", run, f"--config.model.name=own_parts:{network}", "--config.model.width=32")
    code, out, err = command(*own, *SHORT)
    assert code == 0 and "153 examples on the device" in out, err
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0]
    code, out, err = command(*own, *SHORT, "--config.train.num_steps=61")
    assert code == 0 and "from the checkpoint of step 60" in out, err
    # Opened from another directory: the run knows where its parts were.
    shutil.copytree(run, tmp_path / "copy")
    code, _, err = command("--workdir", tmp_path / "copy", "--mode=sample", "--num_samples=2")
    assert code == 0, err
    [path] = (tmp_path / "copy" / "generated").iterdir()
    assert runs.sample_set(path).examples.examples.shape == (2, 8, 8, 1)
    recorded = json.loads((run / "config.json").read_text())
    assert recorded["loss"]["weighting"] == {"name": "own_parts:soft_min_snr", "gamma": 5.0}
    assert recorded["data"]["digit"] == 3 and recorded["model"]["width"] == 32


def test_a_run_whose_parts_are_gone_says_which(command, tmp_path):
    part = tmp_path / "parts.py"
    part.write_text(OWN.read_text().replace("own_parts:", "parts:"))
    run = tmp_path / "run"
    assert command("--config", part, "--workdir", run, *SHORT)[0] == 0
    part.unlink()
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    import sys

    del sys.modules["parts"]
    code, _, err = command("--workdir", run, "--mode=sample")
    assert code == 2 and "there is no module 'parts' beside the config file" in err and err.count("\n") == 1
