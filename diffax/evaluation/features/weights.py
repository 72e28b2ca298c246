"""Weight files of feature extractors: tensors by name, from safetensors or PyTorch's .pth, and their checksums.

No reader executes code. Files come from the user, or are downloaded once into the cache directory and verified.
"""

import hashlib
import os
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from diffax import devices
from diffax.data import download
from diffax.evaluation.features import torch_files

State = dict[str, np.ndarray]


def read(path: str | os.PathLike) -> State:
    """The tensors of a .safetensors, .pth or .pt file by name; half precision becomes float32.

    A .pth file may hold them under the key "state_dict" or "model".

    Raises:
      ValueError: no such file, a damaged one, or one that holds more than tensors: one line with the path.
    """
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"{path}: expected a file of weights (.safetensors, .pth or .pt), and there is none")
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else torch_files.read(path)
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, np.ndarray) for value in loaded.values()):
        raise ValueError(f"{path}: expected tensors by name (a state_dict), got {_described(loaded)}")
    return {str(name): _float32(value) for name, value in loaded.items()}


def checksum(path: str | os.PathLike) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with open(pathlib.Path(path).expanduser(), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum_of(arrays: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of arrays: of their names, dtypes, shapes and values, whatever file they are in."""
    digest = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def selected(state: State, shapes: Mapping[str, tuple[int, ...]], path: str | os.PathLike, *, ignored: str) -> State:
    """The tensors that a network needs, checked.

    Args:
      shapes: the shape of each tensor that the network needs, by name.
      path: of the file, for the messages.
      ignored: a regular expression of the names that the file may hold besides.

    Raises:
      ValueError: a missing or unknown tensor, another shape, or values that are not finite: one line with the path.
    """
    missing = [name for name in shapes if name not in state]
    unknown = [name for name in state if name not in shapes and not re.fullmatch(ignored, name)]
    if missing or unknown:
        what, names = ("no", missing) if missing else ("an unknown", unknown)
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        raise ValueError(f"{path}: expected the {len(shapes)} tensors of the network, got {what} {names[0]!r}{more}")
    for name, shape in shapes.items():
        if state[name].shape != tuple(shape):
            raise ValueError(f"{path}: expected {name!r} of shape {tuple(shape)}, got {state[name].shape}")
        if not np.isfinite(state[name]).all():
            raise ValueError(f"{path}: {name!r} has values that are not finite")
    return {name: state[name] for name in shapes}


def downloaded(remote: download.Remote) -> pathlib.Path:
    """The path of a published file of weights in the cache directory; downloads and verifies it the first time.

    Raises:
      ValueError: no connection, or another size or checksum: one line that says what to do.
    """
    folder = devices.cache_directory() / "weights"
    path = folder / remote.name
    if path.exists() and path.stat().st_size == remote.size:
        return path  # verified when it was downloaded; the extractor's checksum is computed from its content anyway
    return download.fetch(remote, folder)


def _read_safetensors(path: pathlib.Path) -> State:
    try:
        import safetensors
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: reading it needs the package safetensors: pip install 'diffax[features]'") from error
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{path}: truncated or damaged, or no safetensors file ({error})") from error


def _float32(value: np.ndarray) -> np.ndarray:
    """Half precision and bfloat16 as float32; other arrays unchanged."""
    return value.astype(np.float32) if value.dtype.itemsize == 2 and value.dtype.kind in "fV" else value


def _described(loaded: object) -> str:
    if isinstance(loaded, dict):
        other = next(name for name, value in loaded.items() if not isinstance(value, np.ndarray))
        return f"{other!r}, which is no tensor"
    return f"a {type(loaded).__name__}"
