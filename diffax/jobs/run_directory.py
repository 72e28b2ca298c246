"""The directory of a run: whose it is, and what is needed to understand and repeat it."""

import json
import os
import pathlib
import tempfile
from typing import Any

from ml_collections import ConfigDict

from diffax import devices
from diffax.jobs import run_lock
from diffax.jobs.errors import UserError
from diffax.reporting import atomic

# What a run is: on resume these stay, unless --allow_change names them. The rest of a config may change.
_DATA = ("name", "path", "size", "channels", "pad", "only_label", "augment", "dequantize", "on_corrupt")
_MATHEMATICS = ("model", "schedule", "parameterization", "loss", "optimizer", "ema")
IDENTITY = ("seed", *(f"data.{key}" for key in _DATA), *_MATHEMATICS, "train.batch_size")
# But these change nothing that is computed.
_FREE = ("model.remat", "ema.snapshot_every", "ema.snapshot_dtype")


def config_path(workdir: pathlib.Path) -> pathlib.Path:
    """Where a run's config is."""
    return workdir / "config.json"


def checkpoints(workdir: pathlib.Path) -> pathlib.Path:
    """Where its checkpoints are."""
    return workdir / "checkpoints"


def ema_snapshots(workdir: pathlib.Path) -> pathlib.Path:
    """Where its stored averages are, which training.posthoc makes others of."""
    return workdir / "ema_snapshots"


def read_config(workdir: pathlib.Path) -> ConfigDict | None:
    """The config of a run directory, or None for a directory that is none.

    Raises:
      UserError: a config.json that is no JSON.
    """
    path = config_path(workdir)
    if not path.exists():
        return None
    try:
        return ConfigDict(_tuples(json.loads(path.read_text())))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is no valid JSON ({error}): mend it, or choose another --workdir") from error


def check_same_run(workdir: pathlib.Path, config: ConfigDict, allow_change: tuple[str, ...] = ()) -> None:
    """Refuses to continue a run under a config that makes it another one.

    Raises:
      UserError: listing every differing setting as `key: was -> asked`.
    """
    before = read_config(workdir)
    if before is None:
        if workdir.is_dir() and any(path.name != run_lock.FILENAME for path in workdir.iterdir()):
            raise UserError(f"--workdir {workdir} is neither empty nor a run's directory (it has no config.json)")
        return
    changes = differences(before, config)
    refused = [line for key, line in changes.items() if _is_identity(key) and not _covered(key, allow_change)]
    if refused:
        raise UserError(
            f"--workdir {workdir} belongs to another config: {'; '.join(refused)} "
            "(choose another --workdir, or name what may change by --allow_change)"
        )


def differences(before: ConfigDict, after: ConfigDict) -> dict[str, str]:
    """{'model.channels': 'model.channels: 32 -> 64'} for every setting that differs."""
    old, new = _flat(before), _flat(after)
    keys = [*old, *(key for key in new if key not in old)]
    return {
        key: f"{key}: {old.get(key, 'absent')} -> {new.get(key, 'absent')}"
        for key in keys
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
    }


def check_writable(workdir: pathlib.Path) -> None:
    """Raises UserError if workdir cannot be made or written, leaving nothing behind."""
    existing = workdir
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise UserError(f"--workdir {workdir}: {existing} is a file, not a directory; choose another")
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise UserError(f"--workdir {workdir} cannot be written ({error.strerror}); choose another") from error


def write_description(workdir: pathlib.Path, config: ConfigDict, step: int) -> None:
    """Writes config.json and environment.json; a config changed on resume is appended to changes.jsonl first."""
    workdir.mkdir(parents=True, exist_ok=True)
    before = read_config(workdir)
    if before is not None and (changes := differences(before, config)):
        with open(workdir / "changes.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "changes": list(changes.values())}) + "\n")
    write_json(config_path(workdir), config.to_dict())
    write_json(workdir / "environment.json", devices.describe())


def write_json(path: str | os.PathLike, value: Any) -> None:
    """The file appears whole or not at all."""
    with atomic.replacing(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


_ABSENT = object()


def _flat(config: ConfigDict, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else {prefix + key: value}
    return flat


def _covered(key: str, names: tuple[str, ...]) -> bool:
    return any(key == name or key.startswith(name + ".") for name in names)


def _is_identity(key: str) -> bool:
    return _covered(key, IDENTITY) and not _covered(key, _FREE)


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    if isinstance(value, dict):
        return {key: _tuples(entry) for key, entry in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
