"""Configurations with settings changed, as the command line changes them."""

from ml_collections import ConfigDict

from diffax import build, choices, resolve
from diffax import config as settings


def changed(overrides: dict) -> ConfigDict:
    """The default configuration with these settings, by their paths."""
    pairs = [(path, str(value)) for path, value in overrides.items()]
    return resolve.resolve(resolve.override(settings.default(), pairs))


def chosen(path: str, name: str, options: dict, **others: object) -> ConfigDict:
    """The default configuration with this choice and its options; others: settings by paths with __ for a dot."""
    more = {key.replace("__", "."): value for key, value in others.items()}
    return changed({path: name} | {f"{path}.{key}": value for key, value in options.items()} | more)


def assert_complete(path: str, cases: list[tuple[str, dict]]) -> None:
    """Fails unless the cases have every name of a slot, and every option of each, with a value not its default."""
    slot = build.GROUPS[path][0] if path in build.GROUPS else build.SLOTS[path]
    assert {name for name, _ in cases} == set(slot.table), path
    for name in slot.table:
        known = choices.options(slot.table[name], slot)
        given = [options for other, options in cases if other == name]
        for key, option in known.items():
            assert any(key in options and options[key] != option.default for options in given), (path, name, key)
