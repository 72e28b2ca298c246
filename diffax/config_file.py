"""Configuration files: Python files whose get_config() returns a configuration, and the config.json of a run."""

import importlib.util
import inspect
import json
import pathlib
import sys
import traceback
from typing import Any

from ml_collections import ConfigDict


def load(path: str) -> ConfigDict:
    """What get_config() of a file returns, as by `call`.

    A .json file is the config.json of a run: all of its settings, to train the same again elsewhere.

    Raises:
      ValueError: as for `call`, or another result than a ConfigDict.
    """
    file = pathlib.Path(path).expanduser().absolute()
    if file.suffix == ".json" and file.is_file():
        find_modules()
        return _from_json(path, file)
    config = call(path, ("get_config",), "--config")
    if not isinstance(config, ConfigDict):
        raise ValueError(f"--config {path}: get_config() must return a ConfigDict, got {type(config).__name__}")
    return config


def call(path: str, functions: tuple[str, ...], flag: str) -> Any:
    """What the first of these functions that a Python file has returns; of a generator, a list of what it yields.

    Modules beside the file and in the working directory can be imported by it.

    Args:
      flag: that names the file, for messages.

    Raises:
      ValueError: no such file, one with an error (naming its line), or one without any of the functions.
    """
    file = pathlib.Path(path).expanduser().absolute()
    if not file.is_file():
        near = sorted(other.name for other in file.parent.glob("*.py") if other.stem != "__init__")
        there = f"; {pathlib.Path(path).parent} has {', '.join(near)}" if near else ""
        raise ValueError(f"{flag} {path}: there is no such file{there}")
    find_modules(file.parent, file.parent.parent)
    spec = importlib.util.spec_from_file_location(f"_config_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{flag} {path}: expected a Python file, NAME.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found = [name for name in functions if callable(getattr(module, name, None))]
        if not found:
            raise ValueError(f"{flag} {path}: it has no function {' or '.join(f'{name}()' for name in functions)}")
        result = getattr(module, found[0])()
        return list(result) if inspect.isgenerator(result) else result
    except SyntaxError as error:
        raise ValueError(f"{flag} {path}: line {error.lineno}: {error.msg}") from error
    except Exception as error:
        if str(error).startswith(flag):
            raise
        raise ValueError(f"{flag} {path}{_line(error, file)}: {type(error).__name__}: {_one_line(error)}") from error


def find_modules(*folders: pathlib.Path) -> None:
    """Lets modules of the user's own be imported from these folders and the working directory, after all others."""
    for folder in map(str, (*folders, pathlib.Path.cwd())):
        if folder not in sys.path:
            sys.path.append(folder)


def tuples(value: Any) -> Any:
    """The value with JSON's lists turned back into tuples."""
    if isinstance(value, dict):
        return {key: tuples(entry) for key, entry in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def _from_json(path: str, file: pathlib.Path) -> ConfigDict:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--config {path}: not valid JSON: {_one_line(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"--config {path}: expected the settings of a run, as in its config.json")
    return ConfigDict(tuples(content))


def _line(error: Exception, file: pathlib.Path) -> str:
    """', line 7' for an error that passed through the file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f", line {lines[-1]}" if lines else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
