"""Pairs of noise and sample of a trained flow, from which students start: made once, with their cost beside them."""

import json
import pathlib

from experiments import common


def make(teacher: pathlib.Path, *flags: str) -> float:
    """Pairs of a run by --mode reflow, unless they are there; returns the CPU seconds that they took."""
    path = teacher / "pairs_cost.json"
    if not path.exists():
        path.write_text(json.dumps(common.launch("--workdir", str(teacher), "--mode=reflow", *flags)))
    return float(json.loads(path.read_text())["cpu_seconds"])


def flags(teacher: pathlib.Path) -> tuple[str, ...]:
    """The flags of a run that learns the pairs of a run."""
    [pairs] = (teacher / "pairs").glob("*/")
    return "--config.data.name=pairs", f"--config.data.path={pairs}"
