"""Choices of a configuration: a name, and the options of that name.

A choice is a mapping {"name": "min_snr", "gamma": 5.0}. Its options are the keyword arguments of what the name stands
for, with their defaults and types; they are listed nowhere else. A name with a colon, "my_project.networks:UViT", is an
object of the user's own. This module knows no names: build.py has the tables.
"""

import ast
import dataclasses
import difflib
import functools
import importlib
import inspect
import math
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

REQUIRED = inspect.Parameter.empty


class Text(str):
    """A value as it was typed on a command line: its type is that of the setting it is for."""


@dataclasses.dataclass(frozen=True)
class Slot:
    """A place in the configuration where a choice stands.

    table: the names that may stand there, and what they stand for.
    passed: parameters that the program passes, so that they are no options.
    is_function: the name stands for a function that is used as it is, with its keyword-only parameters as options;
      otherwise for a constructor, whose result is used.
    fallback: makes a constructor of a name that is not in the table, or returns None.
    nested: the slots of options that are choices themselves, and the names they have by default.
    """

    table: Mapping[str, Callable[..., Any]]
    passed: tuple[str, ...] = ()
    is_function: bool = False
    fallback: Callable[[str], Callable[..., Any] | None] = lambda name: None
    nested: Mapping[str, tuple["Slot", str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a choice: its default (inspect.Parameter.empty where it must be given) and its annotation."""

    default: Any
    annotation: Any


def lookup(where: str, name: Any, slot: Slot) -> Callable[..., Any]:
    """What a name stands for.

    Raises:
      ValueError: an unknown name, listing the valid ones; or an object of the user's own that cannot be imported.
    """
    if isinstance(name, str) and ":" in name:
        return _imported(where, name)
    found = slot.table.get(name) or (slot.fallback(name) if isinstance(name, str) else None)
    if found is None:
        names = ", ".join(slot.table)
        raise ValueError(f"{where}.name must be one of {names}, or module:object of your own, got {name!r}")
    return found


def parameters(constructor: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a constructor by name; none for one written in C, which has no signature."""
    try:
        return inspect.signature(constructor).parameters
    except (TypeError, ValueError):
        return {}


def options(constructor: Callable[..., Any], slot: Slot) -> dict[str, Option]:
    """The options of a constructor (or function) in a slot, by name."""
    as_it_is = _is_used_as_it_is(constructor, slot)
    positional = [] if as_it_is else [inspect.Parameter.POSITIONAL_OR_KEYWORD]
    kinds = [inspect.Parameter.KEYWORD_ONLY, *positional]
    return {
        parameter.name: Option(parameter.default, parameter.annotation)
        for parameter in parameters(constructor).values()
        if parameter.kind in kinds and parameter.name not in slot.passed
    }


def make(where: str, choice: Any, slot: Slot, **passed: Any) -> Any:
    """The object that a choice stands for.

    Args:
      choice: a mapping (or ConfigDict) with its name and options; settings beside the choice are left out.
      passed: what the program passes; a constructor gets those that are among its parameters.

    Raises:
      ValueError: an unknown name, or options that the constructor refuses.
    """
    constructor = lookup(where, choice["name"], slot)
    known = options(constructor, slot)
    chosen = {key: choice[key] for key in known if key in choice}
    for key, (inner, _) in slot.nested.items():
        if hasattr(chosen.get(key), "keys"):  # a Mapping or a ConfigDict
            chosen[key] = make(f"{where}.{key}", chosen[key], inner)
    if _is_used_as_it_is(constructor, slot):
        return functools.partial(constructor, **chosen) if chosen else constructor
    missing = [key for key, option in known.items() if option.default is REQUIRED and key not in chosen]
    if missing:
        raise ValueError(f"{where} {choice['name']!r} needs {missing[0]}: set {where}.{missing[0]}")
    return constructor(**_accepted(constructor, passed), **chosen)


def settings_beside(default: Any, slot: Slot) -> dict[str, Any]:
    """The entries of a slot's default that are not of its choice but stand beside any (num_steps of a sampler)."""
    known = options(lookup("", default["name"], slot), slot)
    return {key: value for key, value in default.items() if key != "name" and key not in known}


def coerce(where: str, value: Any, expected: Any, *, or_none: bool) -> Any:
    """The value as the type a setting has.

    Args:
      value: of the setting; `Text` is read as Python writes numbers, tuples, True and None.
      expected: int, float, bool, str, tuple, or object for anything.
      or_none: whether None is a value of the setting.

    Raises:
      ValueError: a value of another type.
    """
    parsed = _parsed(value) if isinstance(value, Text) else value
    if parsed is None and (or_none or expected is object):
        return None
    match expected:
        case _ if expected is bool and isinstance(parsed, bool):
            return parsed
        case _ if expected is int and isinstance(parsed, int | float) and not isinstance(parsed, bool):
            if float(parsed).is_integer():
                return int(parsed)
        case _ if expected is float and isinstance(parsed, int | float) and not isinstance(parsed, bool):
            return float(parsed)
        case _ if expected is str and isinstance(value, str):
            return str(value)
        case _ if expected is tuple and isinstance(parsed, tuple | list):
            return tuple(parsed)
        case _ if expected is object:
            return str(parsed) if isinstance(parsed, Text) else parsed
    what = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", tuple: "a tuple, as (1, 2)"}
    none = " or None" if or_none else ""
    raise ValueError(f"{where} must be {what.get(expected, expected)}{none}, got {str(value)!r}")


def coerce_option(where: str, value: Any, option: Option) -> Any:
    """The value of an option, as its annotation or its default says."""
    kinds = _annotated(option.annotation)
    or_none = option.default is None or type(None) in kinds
    plain = [kind for kind in (bool, int, float, str, tuple) if kind in kinds]
    if float in plain and int in plain:
        plain.remove(int)
    if not plain and option.default is not None and option.default is not REQUIRED:
        kind = type(option.default)
        # An annotation that is no plain type, such as Numeric, means a number of either kind.
        plain = [float if kind is int else kind] if kind in (bool, int, float, str, tuple) else []
    if len(plain) > 1:
        plain = [next((kind for kind in plain if _fits(value, kind)), plain[0])]
    return coerce(where, value, plain[0] if plain else object, or_none=or_none)


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean "channels"?' for a name that is close to a known one, else ''."""
    close = difflib.get_close_matches(name, list(known), 1, 0.7)
    return f'. Did you mean "{close[0]}"?' if close else ""


def _is_used_as_it_is(constructor: Callable[..., Any], slot: Slot) -> bool:
    """Whether a name stands for the thing itself, and not for what makes it.

    In a slot of functions, and where an object of the user's own is no class and takes arguments that only a later call
    gives: a function (log_snr, log_density) is a weighting, one without such arguments makes one.
    """
    if inspect.isclass(constructor):
        return False
    if slot.is_function:
        return True
    if any(constructor is known for known in slot.table.values()) or isinstance(constructor, functools.partial):
        return False
    if not inspect.isroutine(constructor):
        return True
    return any(
        parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is REQUIRED
        and parameter.name not in slot.passed
        for parameter in parameters(constructor).values()
    )


def _accepted(constructor: Callable[..., Any], passed: Mapping[str, Any]) -> dict[str, Any]:
    known = parameters(constructor)
    return {key: value for key, value in passed.items() if key in known}


def _imported(where: str, name: str) -> Any:
    """The object module:attribute."""
    module, _, attributes = name.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise ValueError(f"{where}.name = {name!r}: importing {module} failed ({error})") from error
        raise ValueError(
            f"{where}.name = {name!r}: there is no module {module!r} beside the config file, in the working directory "
            "or on PYTHONPATH"
        ) from error
    except Exception as error:
        raise ValueError(
            f"{where}.name = {name!r}: importing {module} failed ({type(error).__name__}: {error})"
        ) from error
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            public = ", ".join(key for key in vars(sys.modules[module]) if not key.startswith("_"))
            raise ValueError(f"{where}.name = {name!r}: {module} has no {attribute!r}, but {public}")
        found = getattr(found, attribute)
    return found


def _parsed(text: str) -> Any:
    """A number, tuple, True, False or None as Python writes it; inf and nan; else the text itself."""
    if text.strip().lower() in ("inf", "+inf", "-inf", "nan"):
        return float(text)
    try:
        return ast.literal_eval(text.strip().replace("inf", "1e999"))
    except (ValueError, SyntaxError):
        return text


def _annotated(annotation: Any) -> set[Any]:
    """The types that an annotation allows, without their parameters: tuple for tuple[int, ...]."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return set().union(*(_annotated(part) for part in typing.get_args(annotation)))
    origin = typing.get_origin(annotation)
    if origin is not None and inspect.isclass(origin) and issubclass(origin, Sequence):
        return {tuple}
    return {annotation} if annotation in (bool, int, float, str, tuple, types.NoneType) else set()


def _fits(value: Any, kind: type) -> bool:
    parsed = _parsed(value) if isinstance(value, Text) else value
    if kind in (int, float):
        return isinstance(parsed, int | float) and not isinstance(parsed, bool) and math.isfinite(parsed)
    return isinstance(parsed, kind | (list if kind is tuple else kind))
