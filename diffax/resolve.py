"""A configuration made complete: overrides applied, the options of its choices filled in, types checked.

A resolved configuration says everything that a run depends on, defaults included, so that a default changed later does
not change it. Resolving is idempotent.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from diffax import build, choices
from diffax import config as settings
from diffax.choices import Slot, Text

Tree = dict[str, Any]


def resolve(config: ConfigDict) -> ConfigDict:
    """The configuration with every option of every choice, checked.

    Raises:
      ValueError: a setting, a name or an option that does not exist, or a value of the wrong type.
    """
    tree = _tree(config)
    resolved = _settings("", tree, settings.default())
    for path, source in build.SAME_AS.items():
        if _at(tree, path) is None and _at(resolved, path) is not None and _at(resolved, source) is not None:
            parent, _, key = path.rpartition(".")
            _at(resolved, parent)[key] = _at(resolved, source)
    return ConfigDict(resolved).lock()


def override(config: ConfigDict, overrides: Iterable[tuple[str, str]]) -> ConfigDict:
    """The configuration with settings changed, as by --config.PATH=TEXT; unresolved.

    Names are chosen before options are set, whatever the order. Another name drops the options of the former choice;
    settings beside the choice stay. The path of a choice with a text chooses its name.

    Args:
      overrides: (path, text), as ("loss.weighting.gamma", "5").

    Raises:
      ValueError: a path that leads to no setting. Values are checked by `resolve`.
    """
    tree = _tree(config)
    paths = [(path.split("."), Text(text)) for path, text in overrides]
    names = [(parts, text) for parts, text in paths if _is_name(parts, text)]
    for parts, text in sorted(names, key=lambda pair: len(pair[0])):
        _choose(tree, parts[:-1] if parts[-1] == "name" else parts, text)
    for parts, text in paths:
        if not _is_name(parts, text):
            _set(tree, parts, text)
    return ConfigDict(tree)


def flat(config: Mapping[str, Any] | ConfigDict, prefix: str = "") -> dict[str, Any]:
    """{"model.channels": 32, ...} of every setting."""
    result: dict[str, Any] = {}
    for key, value in config.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping | ConfigDict) else {prefix + key: value}
    return result


def slot_of(path: str) -> Slot | None:
    """The slot at a path of a configuration, or None: "loss.weighting", "ema.constant", "schedule.base"."""
    if path in build.SLOTS:
        return build.SLOTS[path]
    parent, _, key = path.rpartition(".")
    if parent in build.GROUPS:
        return build.GROUPS[parent][0]
    outer = slot_of(parent) if parent else None
    return outer.nested[key][0] if outer is not None and key in outer.nested else None


def _at(tree: Any, path: str) -> Any:
    """The entry at a path, or None."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _tree(config: Any) -> Any:
    """Plain dictionaries, copied."""
    if isinstance(config, ConfigDict):
        # Not to_dict, which would read placeholders of settings that were never given.
        return {key: _tree(config[key]) for key in config}
    if isinstance(config, Mapping):
        return {key: _tree(value) for key, value in config.items()}
    return copy.copy(config)


def _settings(path: str, tree: Tree, default: ConfigDict) -> Tree:
    """The settings of one level, those of `default`."""
    unknown = [key for key in tree if key not in default]
    if unknown:
        where = f"{path}.{unknown[0]}" if path else unknown[0]
        raise ValueError(f"there is no setting {where}{_elsewhere(unknown[0], default)}")
    return {key: _setting(f"{path}.{key}" if path else key, tree, key, default) for key in default}


def _setting(path: str, tree: Tree, key: str, default: ConfigDict) -> Any:
    value = tree.get(key, default[key])
    if path in build.GROUPS:
        return _group(path, _mapping(path, value))
    slot = slot_of(path)
    if slot is not None:
        return _choice(path, _mapping(path, value), slot, default[key], tree)
    if isinstance(default[key], ConfigDict):
        return _settings(path, _mapping(path, value), default[key])
    kind = default.get_type(key)
    return choices.coerce(path, value, kind, or_none=default[key] is None)


def _group(path: str, tree: Tree) -> Tree:
    slot, beside = build.GROUPS[path]
    result = {}
    for key, entry in tree.items():
        if entry is None or (isinstance(entry, Text) and entry == "None"):
            continue  # taken out
        where = f"{path}.{key}"
        entry = {"name": key} | _mapping(where, entry)
        result[key] = _choice(where, entry, slot, ConfigDict({"name": entry["name"], **beside}), tree)
    return result


def _choice(path: str, tree: Tree, slot: Slot, default: ConfigDict, siblings: Tree) -> Tree:
    """A choice with all of its options and the settings beside it."""
    name = str(tree.get("name", default["name"]))
    constructor = choices.lookup(path, name, slot)
    known = choices.options(constructor, slot)
    beside = choices.settings_beside(default, slot)
    unknown = [key for key in tree if key not in known and key not in beside and key != "name"]
    if unknown:
        valid = ", ".join([*known, *beside]) or "none at all"
        raise ValueError(
            f"{path} {name!r} has no option {unknown[0]}, but {valid}{choices.nearest(unknown[0], [*known, *beside])}"
        )
    result: Tree = {"name": name}
    for key, option in known.items():
        where = f"{path}.{key}"
        if key in slot.nested:
            inner, default_name = slot.nested[key]
            nested = _mapping(where, tree.get(key) or {})
            result[key] = _choice(where, nested, inner, ConfigDict({"name": default_name}), tree)
        elif key in tree:
            result[key] = choices.coerce_option(where, tree[key], option)
        elif option.default is choices.REQUIRED:
            raise ValueError(f"{path} {name!r} needs {key}: set {where}")
        else:
            result[key] = choices.coerce_option(where, option.default, option)
    return result | {key: _setting(f"{path}.{key}", tree, key, default) for key in beside}


def _mapping(path: str, value: Any) -> Tree:
    """The entries of a choice or a group; a text is the name of a choice."""
    if isinstance(value, str):
        return {"name": str(value)}
    if not isinstance(value, Mapping | ConfigDict):
        raise ValueError(f"{path} must be a choice, as settings.choice(NAME, OPTION=...), got {value!r}")
    return _tree(value)


def _is_name(parts: list[str], text: str) -> bool:
    """Whether an override chooses a name: it ends in .name, or leads to a choice; None takes one out of a group."""
    if parts[-1] == "name" and len(parts) > 1 and slot_of(".".join(parts[:-1])) is not None:
        return True
    path = ".".join(parts)
    if path in build.SLOTS or (".".join(parts[:-1]) in build.GROUPS and text != "None"):
        return True
    outer = slot_of(".".join(parts[:-1])) if len(parts) > 1 else None
    return outer is not None and parts[-1] in outer.nested


def _choose(tree: Tree, parts: list[str], name: str) -> None:
    """Chooses a name at a path; another one than before drops the options that came with it."""
    path, parent = ".".join(parts), _parent(tree, parts)
    former, default, slot = parent.get(parts[-1]), _default(parts), slot_of(path)
    former = former if isinstance(former, dict) else {}
    in_group = ".".join(parts[:-1]) in build.GROUPS
    if former and former.get("name", parts[-1] if in_group else default and default["name"]) == name:
        return
    if in_group:
        beside = build.GROUPS[".".join(parts[:-1])][1]
    else:
        beside = {} if default is None or slot is None else choices.settings_beside(default, slot)
    parent[parts[-1]] = {"name": str(name)} | {key: value for key, value in former.items() if key in beside}


def _set(tree: Tree, parts: list[str], text: Text) -> None:
    _parent(tree, parts)[parts[-1]] = text


def _parent(tree: Tree, parts: list[str]) -> Tree:
    """The tree that holds the last part of a path; entries on the way are made where a choice may stand."""
    for depth, key in enumerate(parts[:-1], start=1):
        if key not in tree or tree[key] is None:
            path = ".".join(parts[:depth])
            default = _default(parts[:depth])
            if slot_of(path) is None and not isinstance(default, Mapping | ConfigDict):
                raise ValueError(f"there is no setting {'.'.join(parts)}{_elsewhere(parts[-1], settings.default())}")
            tree[key] = {}
        if not isinstance(tree[key], dict):
            raise ValueError(f"there is no setting {'.'.join(parts)}: {'.'.join(parts[:depth])} is a single value")
        tree = tree[key]
    return tree


def _default(parts: list[str]) -> Any:
    node: Any = settings.default()
    for part in parts:
        if not isinstance(node, ConfigDict) or part not in node:
            return None
        node = node[part]
    return node


def _elsewhere(key: str, level: ConfigDict) -> str:
    """A hint to what may be meant: a setting spelled alike at this level, or one of that name elsewhere."""
    near = choices.nearest(key, list(level))
    if near:
        return near
    everywhere = [path for path in flat(settings.default()) if path.rpartition(".")[2] == key]
    return f". Did you mean {' or '.join(everywhere)}?" if everywhere else ""
