"""Text encoders that are functions of the user's own, `my_project:encode`."""

import hashlib
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from diffax import choices


def load(name: str) -> tuple[Callable[[list[str]], Any], str]:
    """The function `module:function` and its version.

    The version is the function's attribute `version` if it has one, else the first 16 digits of the SHA-256 of its
    source. The source says nothing of the functions and weights that it uses: a function that may change without its
    source needs the attribute, or cached results stay those of the old one.

    Raises:
      ValueError: no such function, no function, or neither a version nor a source: one line.
    """
    found = choices.lookup("encoder", name, choices.Slot({}))
    if not callable(found) or inspect.isclass(found):
        raise ValueError(f"{name}: expected a function from a list of strings to vectors, got {_described(found)}")
    version = getattr(found, "version", None)
    return found, _source_version(name, found) if version is None else str(version)


def _source_version(name: str, function: Callable[..., Any]) -> str:
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise ValueError(
            f"{name}: the version of a {type(function).__name__} cannot be taken from its source; give it an attribute "
            "`version`, such as '1'"
        ) from error
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _described(found: object) -> str:
    return f"the class {found.__name__}" if inspect.isclass(found) else f"an object of type {type(found).__name__}"
