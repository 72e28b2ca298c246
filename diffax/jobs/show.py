"""--mode show: the resolved configuration, what differs from the defaults, and what else may be chosen."""

import argparse
import pathlib
from typing import Any

from ml_collections import ConfigDict

from diffax import choices, resolve
from diffax import config as settings
from diffax.runs.errors import UserError


def flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this mode."""
    parser.add_argument(
        "--of", metavar="CHOICE", help="one choice, such as loss.weighting, with every name that may stand there"
    )


def run(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> None:
    """Prints the configuration, or with --of one choice with every name's options.

    Raises:
      UserError: --of names no choice.
    """
    if args.of is None:
        default = resolve.flat(resolve.resolve(settings.default()))
        _print_settings("", config, default)
        print("\n* differs from the default; --of CHOICE prints the options of every name that may stand there")
        return
    slot = resolve.slot_of(args.of)
    if slot is None:
        raise UserError(f"--of must be one of {', '.join(_choices('', config))}, got {args.of!r}")
    chosen = _at(config, args.of)
    print(f"{args.of}: one of these names, or module:object of your own")
    for name, constructor in slot.table.items():
        mark = "*" if chosen is not None and chosen.get("name") == name else " "
        options = [_described(key, option) for key, option in choices.options(constructor, slot).items()]
        print(f"{mark} {name:<24}{', '.join(options)}")
    print(f"\n* chosen; --config.{args.of}.name=NAME --config.{args.of}.OPTION=VALUE chooses another")


def _print_settings(prefix: str, config: ConfigDict, default: dict[str, Any]) -> None:
    for key, value in config.items():
        path = f"{prefix}{key}"
        if isinstance(value, ConfigDict):
            _print_settings(f"{path}.", value, default)
            continue
        mark = " " if path in default and default[path] == value else "*"
        slot = resolve.slot_of(prefix.rstrip(".")) if key == "name" else None
        others = "" if slot is None else "   (or " + ", ".join(name for name in slot.table if name != value) + ")"
        print(f"{mark} {path} = {value!r}{others}")


def _choices(prefix: str, config: ConfigDict) -> list[str]:
    """The paths of all choices."""
    found = []
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            path = f"{prefix}{key}"
            found += [path] if resolve.slot_of(path) is not None else []
            found += _choices(f"{path}.", value)
    return found


def _at(config: ConfigDict, path: str) -> Any:
    node: Any = config
    for key in path.split("."):
        node = node.get(key) if isinstance(node, ConfigDict) else None
    return node


def _described(key: str, option: choices.Option) -> str:
    return key if option.default is choices.REQUIRED else f"{key}={option.default!r}"
