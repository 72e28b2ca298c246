"""Encoder: a frozen function from strings to vectors or token sequences, with what identifies it."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diffax import devices
from diffax.text import function, outputs

FORMS = ("vector", "tokens")
# The encoder that `make text-encoder` installs.
INSTALLABLE = "all-minilm-l6-v2"
MAKE = "make text-encoder (or python -m diffax.text.install)"


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A text encoder. Its results are a function of the text alone, given name, version, form and max_tokens.

    name: as the configuration has it.
    version: of the weights and their settings, or of the function.
    form: "vector", one vector per text; or "tokens", one vector per token.
    function: from a list of strings to the results, which `outputs.checked` checks.
    max_tokens: results of form "tokens" are cut to this length; None cuts nothing.
    """

    name: str
    version: str
    form: str
    function: Callable[[list[str]], Any] = dataclasses.field(repr=False)
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f'form must be "vector" or "tokens", got {self.form!r}')
        if self.max_tokens is not None and self.form != "tokens":
            raise ValueError(f'max_tokens needs form "tokens", got max_tokens {self.max_tokens} with {self.form!r}')
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens must be >= 1, got {self.max_tokens}")

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encodes texts: one float32 array per text, of shape (size,) or, in the form "tokens", (length, size).

        Raises:
          ValueError: what came is no list of valid strings, or the function's results are no such arrays.
        """
        texts = checked_texts(texts)
        if not texts:
            return []
        results = outputs.checked(self.function(texts), len(texts), form=self.form, name=self.name)
        return [result[: self.max_tokens] for result in results] if self.max_tokens else results


def open_encoder(name: str, *, form: str = "vector", max_tokens: int | None = None) -> Encoder:
    """Opens a text encoder by its name.

    Args:
      name: `my_project:encode`, a function from a list of strings to an array (n, size) or, in the form "tokens", to a
        list of arrays (length, size); the path of a folder of a sentence-transformers model; or the name of such a
        folder in `text_encoders` of the user's cache, where make text-encoder puts all-minilm-l6-v2.
      form: "vector" or "tokens". A model's tokens are the hidden states of its last layer.
      max_tokens: keeps the first so many vectors of each text, in the form "tokens".

    Raises:
      ValueError: no such encoder, a missing package, a damaged folder, or another architecture than BERT's: one line.
    """
    make = functools.partial(Encoder, name, form=form, max_tokens=max_tokens)
    make("", function=list)  # checks the options before 90 MB are read
    folder = _folder(name)
    if folder is None:
        found, version = function.load(name)
        return make(version, function=found)
    from diffax.text import transformer  # JAX and Flax

    opened = transformer.load(folder, form=form)
    return make(opened.version, function=opened)


def checked_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list. Raises ValueError for what is no list of strings, or holds lone surrogates."""
    if isinstance(texts, str):
        raise ValueError(f"expected a list of texts, got the single text {texts!r}")
    checked = list(texts)
    for text in checked:
        if not isinstance(text, str):
            raise ValueError(f"expected texts, got {text!r}, a {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the text {text!r} is no valid Unicode ({error.reason})") from error
    return checked


def encoders_directory() -> pathlib.Path:
    """The folder of the installed text encoders in the user's cache."""
    return devices.cache_directory() / "text_encoders"


def _folder(name: str) -> pathlib.Path | None:
    """The folder that a name stands for; None for module:function. Raises ValueError if there is none."""
    path = pathlib.Path(name).expanduser()
    is_path = os.sep in name or "/" in name or name.startswith((".", "~"))
    if name and not is_path and (encoders_directory() / name).is_dir():
        return encoders_directory() / name
    if name and path.is_dir():
        return path
    if ":" in name and not is_path:
        return None
    if name == INSTALLABLE:
        raise ValueError(f"the text encoder {name!r} is not installed: run {MAKE}")
    if is_path:
        raise ValueError(f"{name}: expected the folder of a sentence-transformers model, and there is none")
    installed = sorted(entry.name for entry in encoders_directory().glob("[!.]*") if entry.is_dir())
    known = ", ".join(installed) or f"none; {MAKE} installs {INSTALLABLE}"
    raise ValueError(
        f"there is no text encoder {name!r}: expected module:function, the path of a folder, or the name of an "
        f"installed one ({known})"
    )
