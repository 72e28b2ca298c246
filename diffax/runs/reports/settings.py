"""The parts of a report that say how to do it again: configuration, environment, command."""

import json
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from diffax import choices, resolve
from diffax import config as defaults
from diffax.reporting.page import Code, Details, Section, Table

_ABSENT = object()


def configuration(config: ConfigDict) -> Section:
    """Every setting, those that differ from the default first and marked.

    The default of an option is that of its choice: 3 for the depth of an mlp, whatever the default network is.
    """
    settings, default = resolve.flat(config), resolve.flat(resolve.resolve(defaults.default()))
    own = {path: _default(path, settings, default) for path in settings}
    differing = [path for path, value in settings.items() if own[path] is _ABSENT or own[path] != value]
    rows = [(path, repr(settings[path]), "" if own[path] is _ABSENT else repr(own[path])) for path in differing]
    every = [(path, repr(value)) for path, value in settings.items()]
    marked = frozenset(index for index, path in enumerate(settings) if path in differing)
    return Section(
        "Configuration",
        [
            *([Table(("setting", "value", "default"), rows)] if rows else []),
            Details(f"All {len(every)} settings", [Table(("setting", "value"), every, marked)]),
        ],
        "What differs from the defaults. An option's default is that of the name that was chosen.",
    )


def _default(path: str, settings: Mapping[str, Any], default: Mapping[str, Any]) -> Any:
    """The default of a setting, or _ABSENT."""
    parent, _, key = path.rpartition(".")
    name, slot = settings.get(f"{parent}.name"), resolve.slot_of(parent) if parent else None
    if slot is None or name == default.get(f"{parent}.name"):
        return default.get(path, _ABSENT)
    option = choices.options(choices.lookup(parent, name, slot), slot).get(key)
    if option is None:
        return default.get(path, _ABSENT)
    return _ABSENT if option.default is choices.REQUIRED else option.default


def environment(workdir: pathlib.Path) -> Section | None:
    """Versions, processor, devices and commit, and what was changed when the run was resumed."""
    found = read_object(workdir / "environment.json")
    if not found:
        return None
    packages = found.get("packages")
    packages = packages if isinstance(packages, Mapping) else {}
    rows = [(name, _text(value)) for name, value in found.items() if name != "packages" and value not in (None, "", [])]
    parts: list[Any] = [Table(("", ""), [*rows, *packages.items()])]
    changes = workdir / "changes.jsonl"
    if changes.exists():
        parts.append(Code(changes.read_text(encoding="utf-8", errors="replace").strip()))
    caption = (
        "" if len(parts) == 1 else "Below the table: settings that were changed when the run was resumed, by step."
    )
    return Section("Environment", parts, caption)


def command(workdir: pathlib.Path) -> Section:
    """The commands that do the run again, from its config.json."""
    found = read_object(workdir / "environment.json")
    lines = []
    if found.get("git_commit"):
        modified = "  # the run's code differed from it" if found.get("git_modified") else ""
        lines.append(f"git checkout {found['git_commit']}{modified}")
    folders = found.get("module_folders") or []
    prefix = f"PYTHONPATH={shlex.quote(':'.join(map(str, folders)))} " if folders else ""
    again = workdir.with_name(f"{workdir.name}_again")
    config = shlex.quote(str(workdir / "config.json"))
    lines.append(f"{prefix}python launch.py --config {config} --workdir {shlex.quote(str(again))}")
    return Section(
        "Reproduce",
        [Code("\n".join(lines))],
        "config.json holds every setting, defaults included. On the same hardware and versions the run is the same, "
        "bit for bit.",
    )


def read_object(path: pathlib.Path) -> dict[str, Any]:
    """The JSON object in a file; empty for a file that is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
