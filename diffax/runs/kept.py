"""What tracing and compiling a run gave, kept on disk, so that a second start does neither.

JAX's persistent cache of compiled programs is looked up by the traced program, and tracing a UNet takes longer than
reading it compiled. Here programs, and shapes that only a trace tells, are looked up by all that a trace depends on:
what the caller names (configuration, shapes, mesh), the contents of every source file of diffax and of modules outside
the standard library and site-packages, the names and versions of installed packages, the settings of JAX and XLA, the
processor and the devices. If one of them changes, the program is traced anew, and compiled anew if the trace is another
one: a changed seed, learning rate or comment gives the same.

Nothing is kept unless JAX's persistent cache is on and in a local folder (devices.enable_compilation_cache), nor by a
run of several processes, nor what cannot be pickled. What is told by its address in memory, such as a function of the
user's own, is traced at every start. The files are pickles in the user's own cache directory; the newest are kept, up
to 1 GB.
"""

import contextlib
import functools
import hashlib
import importlib
import os
import pathlib
import pickle
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache

from diffax.reporting import atomic

_LARGEST = 1_000_000_000  # bytes of all files
_VARIABLES = ("JAX_", "XLA_", "LIBTPU_", "TF_")
# Where files are does not matter to what is traced.
_PLACES = ("jax_compilation_cache_dir", "jax_dump_ir_to", "jax_pprint_use_color")
Value = TypeVar("Value")


def value(parts: Iterable[Any], make: Callable[[], Value]) -> Value:
    """make(), or what it gave when all of this was the same; it is pickled.

    parts: what the value depends on, told by str.
    """
    folder, told = _folder(), list(map(str, parts))
    if folder is None or _has_address(told):
        return make()
    path = folder / _digest([*_settings(), *map(str, map(_contents, _sources())), *told])
    found = _read(path, pickle.loads)
    if found is not None and found[0] == {source: _contents(source) for source in found[0]}:
        return found[1]
    made = make()
    if _is_found_again(jax.tree.structure(made)):
        # Tracing may have imported further modules.
        _write(path, ({source: _contents(source) for source in _sources()}, made), pickle.dumps)
    return made


def program(
    parts: Iterable[Any],
    devices: Sequence[jax.Device],
    lower: Callable[[], jax.stages.Lowered],
    compiled: Callable[[jax.stages.Lowered], tuple[jax.stages.Compiled, Value]],
) -> tuple[jax.stages.Compiled, Value]:
    """compiled(lower()), a program and what else is known of it, or what that gave for the same lowered program.

    parts: what the lowered program depends on, told by str; first what it is, which settles how it is compiled.
    devices: those that it runs on, in order.
    """
    parts, once, ids = list(parts), functools.cache(lower), [device.id for device in devices]
    folder = _folder()
    if folder is None:
        return compiled(once())

    def named() -> str:
        lowered = once()
        told = [*map(str, (parts[0], ids, lowered.in_tree, lowered.out_tree)), lowered.as_text()]
        is_kept = not _has_address(told) and _is_found_again((lowered.in_tree, lowered.out_tree))
        return _digest([*_settings(), *told]) if is_kept else ""

    name = value([*parts, ids], named)
    if not name:
        return compiled(once())
    path = folder / name
    if (found := _read(path, functools.partial(_loaded, devices))) is not None:
        return found
    # XLA's CPU client writes a program that it has read without its code, so that calling it fails at the next start
    # ("Function ... not found", jaxlib 0.10.2).
    with without_cache():
        made = compiled(once())
    _write(path, made, _dumped)
    return made


def shapes(tree: Any) -> str:
    """Structure, shapes and dtypes of a tree of arrays, and where they are: a part of a key."""
    leaves = [(jax.typeof(leaf), getattr(leaf, "sharding", None)) for leaf in jax.tree.leaves(tree)]
    return f"{jax.tree.structure(tree)} {leaves}"


def _read(path: pathlib.Path, loaded: Callable[[bytes], Value]) -> Value | None:
    """What a file has; None without one."""
    try:
        found = loaded(path.read_bytes())
        os.utime(path)
        return found
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # whatever a damaged pickle raises
        warnings.warn(f"{path} cannot be read ({error}): made anew", stacklevel=4)
        return None


def _write(path: pathlib.Path, made: Value, dumped: Callable[[Value], bytes]) -> None:
    """Writes a file and removes the oldest ones; nothing of what cannot be pickled or where nothing can be written."""
    try:
        contents = dumped(made)
    except Exception:  # what pickle and XLA raise for functions of Python, in a tree or called by a program
        return
    try:
        with atomic.replacing(path) as file:
            file.write(contents)
        _make_room(path.parent)
    except OSError as error:
        warnings.warn(f"compiled programs are not kept: {error}", stacklevel=4)


def _make_room(folder: pathlib.Path) -> None:
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process has renamed or removed it
            found.append((path, path.stat()))
    total = 0
    for path, stat in sorted(found, key=lambda one: one[1].st_mtime, reverse=True):
        total += stat.st_size
        if total > _LARGEST:
            path.unlink(missing_ok=True)


def _folder() -> pathlib.Path | None:
    settings: Any = jax.config
    directory = settings.jax_compilation_cache_dir
    is_local = settings.jax_enable_compilation_cache and directory and "://" not in directory
    # Asked last, since it starts JAX.
    return pathlib.Path(directory) / "diffax" if is_local and jax.process_count() == 1 else None


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Has JAX compile in this block rather than read from its cache."""
    settings: Any = jax.config
    directory = settings.jax_compilation_cache_dir
    settings.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        settings.update("jax_compilation_cache_dir", directory)
        compilation_cache.reset_cache()


def _is_found_again(structure: Any) -> bool:
    """Whether the structure of a tree is the same after pickling: not where it has objects that equal no copy.

    Equinox's modules have: a state of such a structure would not be what a program of another start was compiled for.
    """
    try:
        return pickle.loads(pickle.dumps(structure)) == structure
    except Exception:  # what pickle raises for functions
        return False


def _dumped(made: tuple[jax.stages.Compiled, Any]) -> bytes:
    compiled, known = made
    return pickle.dumps((serialize_executable.serialize(compiled), known))


def _loaded(devices: Sequence[jax.Device], text: bytes) -> tuple[jax.stages.Compiled, Any]:
    (program, in_tree, out_tree), known = pickle.loads(text)
    compiled = serialize_executable.deserialize_and_load(program, in_tree, out_tree, execution_devices=devices)
    return compiled, known


def _settings() -> Iterator[str]:
    """What a trace and a compilation depend on, beside sources and what the caller names."""
    yield from _packages()
    yield from (f"{name}={text}" for name, text in sorted(os.environ.items()) if name.startswith(_VARIABLES))
    yield from (
        f"{name}={getattr(jax.config, name, None)}" for name in sorted(jax.config.values) if name not in _PLACES
    )
    yield f"{sys.version} {jax.default_backend()} {jax.devices()[0].client.platform_version}"
    yield f"{[(device.id, device.device_kind) for device in jax.devices()]} {_processor()}"


def _sources() -> list[str]:
    """The files of diffax, and of every imported module that no installation brought."""
    installed = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    own = {file for file in files if file and file.endswith(".py") and not file.startswith(installed)}
    diffax = pathlib.Path(importlib.import_module("diffax").__file__ or "").parent
    return sorted(own.union(map(str, diffax.rglob("*.py"))))


def _contents(path: str) -> str | None:
    """A digest of a file; None without one."""
    return _digest_of(path, os.stat(path).st_mtime_ns) if os.path.exists(path) else None


@functools.cache
def _digest_of(path: str, modified: int) -> str:
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


@functools.cache
def _packages() -> tuple[str, ...]:
    """Names and versions of installed packages, as their folders have them."""
    folders = {pathlib.Path(path) for path in sys.path if os.path.isdir(path)}
    return tuple(sorted(path.name for folder in folders for path in folder.glob("*.*-info")))


@functools.cache
def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return " ".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _has_address(told: Iterable[str]) -> bool:
    """Whether something is told by its address in memory."""
    return any(" at 0x" in part for part in told)


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
