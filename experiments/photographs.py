"""How good generated photographs are: --mode evaluate in the features of EfficientNet-Lite0 (extra `features`)."""

import json
import pathlib
import subprocess
import sys
from typing import Any

METRICS = ("frechet", "frechet_ratio", "kernel", "precision_recall")
# Of all samples. Batches are smaller than usual: on a CPU their activations stay in the cache.
DRAWN = ("--batch_size=32", "--config.model.dtype=bfloat16")
# Against the 10,000 test photographs.
PROTOCOL = (
    "--mode=evaluate",
    "--features=efficientnet_lite0",
    f"--config.evaluation.metrics={METRICS!r}",
    "--config.evaluation.reference=held_out",
    "--config.evaluation.reference_size=10000",
    *DRAWN,
)


def flags(directory: pathlib.Path) -> tuple[str, str]:
    """The flags for photographs in directory/train/CLASS/* and directory/test/CLASS/*."""
    return "--config.data.name=folder", f"--config.data.path={directory}"


def evaluated(workdir: pathlib.Path, n: int, evaluations: tuple[int, ...], *flags: str) -> list[dict[str, Any]]:
    """The measurements of --mode evaluate of n samples, one row for each metric of each setting."""
    command = [sys.executable, "launch.py", "--workdir", str(workdir), *PROTOCOL, f"--num_samples={n}", *flags]
    done = subprocess.run(
        [*command, f"--evaluations={listed(evaluations)}"], check=True, text=True, stdout=subprocess.PIPE
    )
    print(done.stdout, flush=True)
    directory = done.stdout.rpartition("written to ")[2].strip()
    rows = json.loads((pathlib.Path(directory) / "results.json").read_text())["measurements"]
    kept = ("metric", "value", "standard_error", "seeds", "sampler", "num_evaluations", "guidance", "average")
    return [{name: row[name] for name in kept} for row in rows]


def listed(values: tuple[Any, ...]) -> str:
    """Values of a flag that takes several."""
    return ",".join(f"{value}" for value in values)
