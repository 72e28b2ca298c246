"""Tensors from PyTorch's .pth and .pt files, zipped or of the older layout, without PyTorch and without running code.

A .pth file is a pickle, and unpickling may call any function. The unpickler here knows ordered dictionaries, tensors
and their storages, and refuses every other name, so that a file can hold nothing but arrays.
"""

import collections
import dataclasses
import io
import math
import pathlib
import pickle
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

# What a file of the older layout begins with: pickle protocol 2 and torch's magic number.
OLD_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
ZIP_MAGIC = b"PK\x03\x04"

_DTYPES = {
    "BFloat16Storage": ml_dtypes.bfloat16,
    "BoolStorage": np.bool_,
    "ByteStorage": np.uint8,
    "CharStorage": np.int8,
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "IntStorage": np.int32,
    "LongStorage": np.int64,
    "ShortStorage": np.int16,
}


def read(path: pathlib.Path) -> Any:
    """What a .pth or .pt file holds: nested dictionaries and lists, with NumPy arrays in place of tensors.

    Raises:
      ValueError: a truncated or damaged file, one that is no such file, or one that holds more than tensors (which
        might be code): one line with the path.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(len(OLD_MAGIC))
            file.seek(0)
            if start.startswith(ZIP_MAGIC):
                return _read_zip(file)
            if start == OLD_MAGIC:
                return _read_old(file)
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle can fail anywhere
        raise ValueError(f"{path}: truncated or damaged, or no file of tensors ({_first_line(error)})") from error
    raise ValueError(f"{path}: expected a .pth or .pt file of PyTorch, and it begins like neither of its two layouts")


class _Refused(ValueError):
    """What the file holds is understood, and not allowed."""


@dataclasses.dataclass
class _Storage:
    dtype: Any
    count: int
    values: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self) -> np.ndarray:
        values = self.storage.values
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.size, self.stride, strict=True))
        count = math.prod(self.size)
        # A stride of 0 would let a few bytes stand for any number of gigabytes.
        if values is None or min((self.offset, *self.size, *self.stride)) < 0 or count > values.size:
            raise _Refused(f"a tensor of size {self.size} does not fit its {self.storage.count} stored values")
        if count and last >= values.size:
            raise _Refused(f"a tensor ends at value {last + 1} of {values.size} stored values")
        strides = [stride * values.itemsize for stride in self.stride]
        return np.array(np.lib.stride_tricks.as_strided(values[self.offset :], self.size, strides))


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles ordered dictionaries and tensors; `load_storage` is called with (dtype, key, count)."""

    def __init__(self, file: Any, load_storage: Callable[[Any, str, int], _Storage]):
        super().__init__(file)
        self._load_storage = load_storage
        # Made for each file, so that a file cannot change what another one gets.
        self._known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, size, stride, *rest: _Tensor(
                storage, offset, tuple(size), tuple(stride)
            ),
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *rest: tensor,
            **{("torch", name): name for name in _DTYPES},
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            raise _Refused(f"refused, because it holds {module}.{name}, and only tensors are read: it might be code")
        return self._known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _, count = pid[:5]
        if kind != "storage" or storage_type not in _DTYPES:
            raise _Refused(f"refused, because it refers to {kind!r}, and only stored tensors are read")
        if len(pid) > 5 and pid[5] is not None:
            raise _Refused("views of storages are not read: save the tensors with PyTorch 1.6 or newer")
        return self._load_storage(_DTYPES[storage_type], str(key), int(count))


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        folder = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")), None)
        if folder is None or any(name.startswith(f"{folder}code/") for name in names):
            raise _Refused("a zip file with a program or without tensors; save a state_dict by torch.save")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise _Refused("its tensors are not little-endian")
        storages: dict[str, _Storage] = {}

        def load_storage(dtype: Any, key: str, count: int) -> _Storage:
            if key not in storages:
                values = np.frombuffer(archive.read(f"{folder}data/{key}"), dtype)
                if values.size != count:
                    raise _Refused(f"storage {key} has {values.size} values, not {count}")
                storages[key] = _Storage(dtype, count, values)
            return storages[key]

        loaded = _TensorUnpickler(io.BytesIO(archive.read(f"{folder}data.pkl")), load_storage).load()
        return _arrays(loaded)


def _read_old(file: BinaryIO) -> Any:
    """Magic number, protocol version, machine, the object, the keys of the storages; then each count and its values."""
    storages: dict[str, _Storage] = {}

    def load_storage(dtype: Any, key: str, count: int) -> _Storage:
        return storages.setdefault(key, _Storage(dtype, count))

    _, _, machine, loaded, keys = (_TensorUnpickler(file, load_storage).load() for _ in range(5))
    if not machine["little_endian"]:
        raise _Refused("its tensors are not little-endian")
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(file.read(8), "little")
        if count != storage.count:
            raise _Refused(f"storage {key} has {count} values, not {storage.count}")
        size = count * np.dtype(storage.dtype).itemsize
        content = file.read(size)
        if len(content) < size:
            raise _Refused(f"truncated: storage {key} has {len(content):,} of {size:,} bytes")
        storage.values = np.frombuffer(content, storage.dtype)
    return _arrays(loaded)


def _arrays(loaded: Any) -> Any:
    match loaded:
        case _Tensor():
            return loaded.array()
        case dict():
            return {key: _arrays(value) for key, value in loaded.items()}
        case list() | tuple():
            return [_arrays(value) for value in loaded]
        case None | bool() | int() | float() | str():
            return loaded
    raise _Refused(f"refused, because it holds a {type(loaded).__name__}, and only tensors are read")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
