"""What the README says, done."""

import functools
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from tests.text import folders

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
OF_A_RUN = [example for example in EXAMPLES if "runs/" in example]
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
# The README's networks are trained; these only have to run. One of its two runs on digits is of a UNet.
MATRIX = ["--config.model.name=tests.tiny:Network", "--config.train.batch_size=4"]
SHORT = [
    "--config.optimizer.name=adam",
    "--config.train.num_steps=2",
    "--config.evaluators.samples.num_samples=4",
    "--config.optimizer.warmup_steps=0",
    "--config.sampler.num_steps=2",
]
UNET = [
    "--config.model.channels=8",
    "--config.model.groups=4",
    "--config.model.channel_multipliers=(1,)",
    "--config.model.num_res_blocks=0",
    "--config.model.attention_resolutions=()",
    "--config.train.batch_size=4",
    *SHORT,
]
SMALL = {
    "train": UNET,
    "digits": [*MATRIX, *SHORT],
    "own_parts": ["--config.train.num_steps=2", "--config.sampler.num_steps=2"],
    "flow": [*MATRIX, *SHORT],
    "reflow": ["--num_samples=60"],
    "sample": ["--num_samples=2", "--num_steps=3"],
    "edit": ["--num_steps=3"],
    "interpolate": ["--num_steps=3", "--num=3"],
    "evaluate": ["--num_samples=20", "--config.evaluation.reference_size=20", "--metrics=energy"],
    "likelihood": [
        "--config.likelihood.num_examples=2",
        "--config.likelihood.num_draws=2",
        "--config.likelihood.tolerance=0.1",
    ],
    "context": UNET,
    "plan": MATRIX,
    "show": [],
    "inspect_data": [],
    "points": [
        "--config.model.hidden=8",
        "--config.train.batch_size=4",
        "--config.train.num_steps=2",
        "--config.optimizer.warmup_steps=0",
        "--config.sampler.num_steps=2",
    ],
}


# What is printed, other than the run's directory.
SAYS = {"plan": "GFLOP", "show": "sampler", "inspect_data": "examples/s"}


def kind_of(line):
    """The entry of SMALL for a command."""
    if "--cpu_devices" in line:
        return "points"
    if "own_parts" in line:
        return "own_parts"
    if "spiral_flow" in line:
        return "flow"
    if "runs/context" in line and "--mode" not in line:
        return "context"
    if line == "python launch.py --config configs/digits.py":
        return "digits"
    return re.findall(r"--mode (\w+)", f"{line} --mode train")[0]


def test_there_are_six_examples_and_some_commands():
    assert (
        len(EXAMPLES) == 6
        and len(OF_A_RUN) == 1
        and any(command.startswith("python launch.py") for command in COMMANDS)
    )


@pytest.mark.parametrize("example", [example for example in EXAMPLES if example not in OF_A_RUN])
def test_examples_run(example, capsys):
    exec(compile(example, "README.md", "exec"), {})
    assert "nan" not in capsys.readouterr().out


def alone(*arguments, cwd):
    """As the fixture `command` does, in a process of its own: the number of devices is settled once in each."""
    settings = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "true", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, ROOT / "launch.py", *arguments],
        cwd=cwd,
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_launch_commands_run_and_what_is_done_with_their_runs(command, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folders.write(tmp_path / "cache" / "diffax" / "text_encoders" / "all-minilm-l6-v2")  # as make text-encoder would
    for folder in ("configs", "experiments"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    for line in COMMANDS:
        if line.startswith("python launch.py"):
            arguments = shlex.split(line)[2:]
            kind = kind_of(line)
            run = functools.partial(alone, cwd=tmp_path) if kind == "points" else command
            code, out, err = run(*arguments, *SMALL[kind])
            assert code == 0, f"{line}: {err}"
            assert SAYS.get(kind, "runs/") in out
    assert (tmp_path / "runs" / "digits" / "checkpoints").is_dir()
    assert len(list((tmp_path / "runs" / "wide" / "generated").glob("*/preview.png"))) == 3
    monkeypatch.chdir(tmp_path)
    for example in OF_A_RUN:
        exec(compile(example, "README.md", "exec"), {})


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make")])
def test_make_targets_exist(line):
    targets = line.split("#")[0].split()[1:]
    done = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_of_the_readme_is_covered():
    other = [line for line in COMMANDS if line and not line.startswith(("make", "python launch.py", "pip install -e"))]
    assert other == []


def test_pictures_and_links_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
