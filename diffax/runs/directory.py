"""The run directory: whose it is, and what is needed to understand and repeat the run."""

import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

import diffax
from diffax import build, build_training, config_file, devices, resolve
from diffax import config as settings
from diffax.data.fingerprint import differences as differences_of_data
from diffax.reporting import atomic
from diffax.runs import lock
from diffax.runs.errors import UserError
from diffax.runs.model import FILENAME as MODEL
from diffax.runs.model import FORMAT

START = "init_from.json"
POINT_STATUS, POINT_LOCK = "status.json", "point.lock"


def config_path(workdir: pathlib.Path) -> pathlib.Path:
    """The resolved configuration of the run, JSON."""
    return workdir / "config.json"


def checkpoints(workdir: pathlib.Path) -> pathlib.Path:
    """The folder of checkpoints."""
    return workdir / "checkpoints"


def ema_snapshots(workdir: pathlib.Path) -> pathlib.Path:
    """The folder of stored power-function averages, for post-hoc EMA (training.posthoc)."""
    return workdir / "ema_snapshots"


def read_config(workdir: pathlib.Path) -> ConfigDict | None:
    """The resolved configuration of a run directory; None for a directory without one.

    Raises:
      UserError: a config.json that is no JSON, or one of another version of diffax.
    """
    path = config_path(workdir)
    if not path.exists():
        return None
    check_version(workdir)
    folders = _read(workdir / "environment.json").get("module_folders", [])
    config_file.find_modules(*(pathlib.Path(folder) for folder in folders if pathlib.Path(folder).is_dir()))
    try:
        return resolve.resolve(ConfigDict(config_file.tuples(json.loads(path.read_text()))))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is no valid JSON ({error}): mend it, or choose another --workdir") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


# Settings that may differ where a trained model is only opened: how long it trains, and what its network computes in.
WHEN_OPENED = ("train.num_steps", "model.dtype")


def computed_in(config: ConfigDict) -> dict[str, str]:
    """{"dtype": ...} of a network that does not compute in float32, for the names of its results; {} of others."""
    dtype = config.model.get("dtype", "float32")
    return {} if dtype == "float32" else {"dtype": dtype}


def check_version(workdir: pathlib.Path) -> None:
    """Raises UserError for a run directory that another version of diffax made and this one cannot read."""
    model, environment = _read(workdir / MODEL), _read(workdir / "environment.json")
    if model.get("format") == FORMAT:
        return
    version = model.get("diffax") or environment.get("packages", {}).get("diffax") or "an unknown version"
    commit = environment.get("git_commit")
    raise UserError(
        f"--workdir {workdir} was made by diffax {version}{f' (commit {commit[:10]})' if commit else ''}, whose runs "
        f"diffax {diffax.__version__} cannot read: use that version, or choose another directory and train anew"
    )


def check_same_run(workdir: pathlib.Path, config: ConfigDict, allow_change: tuple[str, ...] = ()) -> None:
    """Refuses to continue a run under a configuration that makes it another one.

    train.num_steps may change where the learning rate is constant and the loss has no curriculum: with a decay it
    changes the rate of every step, with a curriculum the objective of every step.

    Args:
      allow_change: settings that may differ, beside those of config.FREE.

    Raises:
      UserError: listing every differing setting as `key: was -> asked`.
    """
    before = read_config(workdir)
    if before is None:
        if workdir.is_dir() and any(path.name not in _NO_RUN for path in workdir.iterdir()):
            raise UserError(f"--workdir {workdir} is neither empty nor a run's directory (it has no config.json)")
        return
    changes, decay = differences(before, config), before.optimizer.decay.name
    changes_objective = build_training.has_curriculum(before)
    is_fixed = decay != "constant" or changes_objective
    free = tuple(name for name in settings.FREE if name != _NUM_STEPS or not is_fixed)
    refused = [line for key, line in changes.items() if not _covered(key, (*free, *allow_change))]
    if refused == [changes.get(_NUM_STEPS)]:
        of = [f"the learning rate's {decay} decay"] if decay != "constant" else []
        of += [f"the curriculum of loss {before.loss.name!r}"] if changes_objective else []
        raise UserError(
            f"--workdir {workdir}: {refused[0]} moves the end of {' and of '.join(of)}, and so changes the "
            f"{'objective' if changes_objective else 'rate'} of the steps to come: --allow_change={_NUM_STEPS} "
            "continues so, with parameters, optimizer state and averages kept"
        )
    if refused:
        raise UserError(
            f"--workdir {workdir} belongs to another config: {'; '.join(refused)} "
            "(choose another --workdir, or name what may change by --allow_change)"
        )


def check_same_data(
    workdir: pathlib.Path, fingerprint: Mapping[str, Any] | None, allow_change: tuple[str, ...] = ()
) -> list[str]:
    """Refuses to continue a run on other data than it began with; returns what changed where that is allowed.

    Args:
      fingerprint: of the training data, `data.fingerprint`.

    Raises:
      UserError: listing what changed; "data" is not in allow_change.
    """
    before = _read(workdir / MODEL).get("fingerprint") if config_path(workdir).exists() else None
    changes = [] if before is None or fingerprint is None else differences_of_data(before, fingerprint)
    if changes and "data" not in allow_change:
        raise UserError(
            f"--workdir {workdir} was trained on other data: {'; '.join(changes)} (choose another --workdir, or go on "
            "by --allow_change=data, which keeps parameters, optimizer and step, and visits examples in a new order)"
        )
    return changes


def differences(before: ConfigDict, after: ConfigDict) -> dict[str, str]:
    """{'model.channels': 'model.channels: 32 -> 64'} for every setting that differs between resolved configurations."""
    old, new = resolve.flat(before), resolve.flat(after)
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


def write_description(workdir: pathlib.Path, config: ConfigDict, step: int, data_changes: Sequence[str] = ()) -> None:
    """Writes config.json and environment.json; what a resumed run changes is appended to changes.jsonl first."""
    workdir.mkdir(parents=True, exist_ok=True)
    before = read_config(workdir)
    changes = {} if before is None else differences(before, config)
    changes |= {change: f"data: {change}" for change in data_changes}
    if changes:
        with open(workdir / "changes.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "changes": list(changes.values())}) + "\n")
    write_json(config_path(workdir), config.to_dict())
    write_json(workdir / "environment.json", devices.describe() | {"module_folders": _module_folders(config)})


def write_start(workdir: pathlib.Path, source: str | os.PathLike) -> None:
    """Writes init_from.json: the run whose parameters this one starts from, and the features that it was trained on."""
    source = pathlib.Path(source).expanduser().absolute()
    config = read_config(source)
    features = () if config is None else trained_on(source, config)
    write_json(workdir / START, {"run": str(source), "trained_on": list(features)})


def trained_on(workdir: pathlib.Path, config: ConfigDict) -> tuple[str, ...]:
    """The names of the features that a run's loss compared samples in, and those of the run that it started from."""
    own = () if build.loss_features(config) is None else (config.loss.features.name,)
    return tuple(dict.fromkeys([*own, *_read(workdir / START).get("trained_on", [])]))


def write_json(path: str | os.PathLike, value: Any) -> None:
    """The file appears whole or not at all."""
    with atomic.replacing(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


_ABSENT = object()
# What a directory may hold before a run begins in it: its lock, and what a sweep says of its point.
_NO_RUN = (lock.FILENAME, POINT_STATUS, POINT_LOCK)
_NUM_STEPS = "train.num_steps"


def _read(path: pathlib.Path) -> dict[str, Any]:
    """The JSON object in a file; empty for a file that is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _module_folders(config: ConfigDict) -> list[str]:
    """The folders of the user's own modules that a configuration names, so that the run can be opened elsewhere."""
    names = [value for value in resolve.flat(config).values() if isinstance(value, str) and ":" in value]
    packages = {name.partition(":")[0].partition(".")[0] for name in names}
    files = [getattr(sys.modules.get(package), "__file__", None) for package in packages]
    paths = [pathlib.Path(file).absolute() for file in files if file is not None]
    return sorted({str(path.parents[1] if path.name == "__init__.py" else path.parent) for path in paths})


def _covered(key: str, names: tuple[str, ...]) -> bool:
    return any(key == name or key.startswith(name + ".") for name in names)
