"""Bits per dimension of trained models by --mode likelihood, for the experiments that compare them."""

import json
import pathlib
import subprocess
import sys
from typing import Any

from diffax.reporting import formats, tables

# The ODE has no likelihood with thresholding or epsilon scaling.
PLAIN = ("--config.sampler.epsilon_scale=1", "--config.sampler.thresholding=none")


def measure(workdir: pathlib.Path, way: str, num_examples: int, *flags: str) -> dict[str, Any]:
    """What --mode likelihood finds of held-out examples by one way: {all: means and errors, settings}."""
    command = [sys.executable, "launch.py", "--workdir", str(workdir), "--mode=likelihood", f"--ways={way}"]
    command += [f"--config.likelihood.num_examples={num_examples}", *flags, *(PLAIN if way == "ode" else ())]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    print(done.stdout, flush=True)
    results = json.loads((pathlib.Path(done.stdout.rpartition("written to ")[2].strip()) / "results.json").read_text())
    return {"all": results["all"], "settings": results["settings"]}


def with_error(result: dict[str, Any], way: str) -> str:
    """The mean over examples and its standard error, as text."""
    return formats.with_error(result["all"][way], result["all"][f"{way}_standard_error"])


def table(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Markdown of {model: {column: result}}, where a column is named for the way that begins it: "bound, T = 50"."""
    columns = list(dict.fromkeys(column for of_model in found.values() for column in of_model))
    rows = [
        [name, *(with_error(of_model[one], one.partition(",")[0]) if one in of_model else "" for one in columns)]
        for name, of_model in found.items()
    ]
    return tables.markdown(["model", *columns], rows)
