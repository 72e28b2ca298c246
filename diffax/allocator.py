"""The memory allocator of launch.py: it restarts itself once with one that keeps freed memory.

XLA's CPU client allocates the intermediates of every training step anew, 1.1 GB for DDPM's CIFAR UNet with batches of
16. glibc's malloc returns them to the system after every step and maps them again, and every first access to a page of
4 kB is a page fault: 271,000 a step. mimalloc keeps them. On two cores, beside other work, a training step of a 4M UNet
(batch 16) then takes 0.80 of the processor time (quartiles 0.79 and 0.82): 0.89 of the user and 0.08 of the system
time. It takes 0.86 (0.83, 0.88) with glibc's malloc told to keep its memory, the fallback where mimalloc is not
installed; 0.91 with jemalloc that keeps it; and 1.37 with huge pages by glibc's tunable in addition, where the system
spends the time compacting memory.

What is kept stays resident: DDPM's CIFAR UNet (its step loaded twice) takes 3.6 GB, and with MIMALLOC_PURGE_DELAY=1000
in the environment 2.9 GB for 1.08 of the time (1.04, 1.15; seven calls each, on two AMD cores).

An allocator is chosen when a process starts, hence the restart, which keeps the process ID. Importing this module
changes nothing, and a program that uses diffax as a library is not restarted.
"""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping, Sequence

# The option of launch.py that leaves malloc as it is.
OFF = "--no-tune_malloc"
# The environment variables that change malloc.
VARIABLES = ("LD_PRELOAD", "MIMALLOC_PURGE_DELAY", "GLIBC_TUNABLES")
_PACKAGE, _LIBRARY = "cmeel-mimalloc", "cmeel.prefix/lib/libmimalloc.so"
# No allocation is a mapping of its own, the heap never shrinks, and there is one heap, since that of a thread would.
_KEEP = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776:glibc.malloc.arena_max=1"


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that a process in `environment` lacks for an allocator that keeps freed memory.

    None ({}) off Linux, with another C library than glibc, and where the user has chosen an allocator or its settings:
    where LD_PRELOAD or a tunable of malloc is set.
    """
    tunables = environment.get("GLIBC_TUNABLES", "")
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return {}
    if "LD_PRELOAD" in environment or "glibc.malloc." in tunables:
        return {}
    if library := _mimalloc():
        return {"LD_PRELOAD": library, "MIMALLOC_PURGE_DELAY": environment.get("MIMALLOC_PURGE_DELAY", "-1")}
    return {"GLIBC_TUNABLES": f"{tunables}:{_KEEP}".lstrip(":")}


def restart(argv: Sequence[str]) -> None:
    """Executes this command again, in this process, with the variables that it lacks; returns if it lacks none.

    Call it before anything else: what the process holds is lost, but for open files. Nothing happens if `argv` has
    OFF or asks for help, under `python -m` and under a debugger, which would be restarted with it.
    """
    own = sys.orig_argv[1 : len(sys.orig_argv) - len(argv)]  # the interpreter's options
    leave = {OFF, "-h", "--help", "--helpfull"}.intersection(argv)
    if leave or any(option.startswith("-m") for option in own) or sys.gettrace() is not None:
        return
    if missing := variables(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | missing)


def describe() -> dict[str, str]:
    """The settings of malloc in this process, as JSON-ready values; {} for the C library's own.

    Of libraries it tells the names and not the folders, which say nothing elsewhere.
    """
    settings = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if libraries := settings.get("LD_PRELOAD"):
        settings["LD_PRELOAD"] = " ".join(map(os.path.basename, libraries.replace(":", " ").split()))
    return settings


def _mimalloc() -> str | None:
    """The path of the installed mimalloc; None without one."""
    try:
        path = str(importlib.metadata.distribution(_PACKAGE).locate_file(_LIBRARY))
    except importlib.metadata.PackageNotFoundError:
        return None
    # LD_PRELOAD takes spaces and colons as separators.
    return path if os.path.exists(path) and not {" ", ":"}.intersection(path) else None
