"""Settings of the C library's memory allocator, under which launch.py restarts itself before it computes anything.

XLA's CPU client allocates the intermediates of every training step anew, 1.1 GB for DDPM's CIFAR UNet with batches of
16. glibc maps them anew too, in pages of 4 kB, and every first access to a page is a page fault: 271,000 a step. With
transparent huge pages (2 MB) there are few. glibc reads its settings when a process starts, hence the restart, which
keeps the process ID. Importing this module changes nothing; a program that uses diffax as a library is not restarted.
"""

import os
import platform
import sys
from collections.abc import Mapping, Sequence

# The option of launch.py that leaves malloc as it is.
OFF = "--no-tune_malloc"
# The environment variables that change malloc.
VARIABLES = ("GLIBC_TUNABLES", "LD_PRELOAD")
# Asks for huge pages by madvise, which Linux grants where transparent huge pages are on "madvise", its default, or
# "always". glibc knows it from 2.35 on; older ones ignore it.
_TUNABLE = "glibc.malloc.hugetlb=1"


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that a process in `environment` lacks for huge pages.

    None ({}) off Linux, with another C library than glibc, and where the user has chosen an allocator or its settings:
    where LD_PRELOAD or a tunable of malloc is set.
    """
    tunables = environment.get("GLIBC_TUNABLES", "")
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return {}
    if "LD_PRELOAD" in environment or "glibc.malloc." in tunables:
        return {}
    return {"GLIBC_TUNABLES": f"{tunables}:{_TUNABLE}".lstrip(":")}


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
    """The settings of malloc in this process, as JSON-ready values; {} for the C library's own."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}
