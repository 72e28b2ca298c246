"""The settings of malloc for launch.py, which restarts itself once with them: freed memory is kept.

XLA's CPU client allocates the intermediates of every training step anew, 0.8 GB for DDPM's CIFAR UNet with batches of
16. glibc's malloc returns them to the system after every step and maps them again, and every first access to a page of
4 kB is a page fault: 73,000 in a step of a 2.2M UNet and 132,000 of an 8.9M one, which take 1.23 (quartiles 1.14 and
1.28) and 1.15 (1.10, 1.22) of the time with an allocator that keeps freed memory (41 steps in turns, batch 16, two AMD
cores).

Other allocators are no faster. Kept by glibc, steps of both networks take 0.99 of the time with mimalloc (1.00 and 1.02
beside a busy loop on one core), and so do those of DDPM's CIFAR UNet; but mimalloc has the intermediates in ever new
places and keeps them all: 2.6 to 4.8 GB after 15 steps one at a time, against 2.3. jemalloc was slower than both.
Huge pages (glibc.malloc.hugetlb=1) change nothing measurable here, and on a machine short of free memory in one piece
they made steps slower.

launch.py leaves malloc as it is where JAX may use an accelerator, whose memory has an allocator of its own: there the
one heap would only have threads wait for each other, such as those in which XLA compiles.

The settings are read when a process starts, hence the restart, which keeps the process ID. Importing this module
changes nothing, and a program that uses diffax as a library is not restarted.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Mapping, Sequence

# The option of launch.py that leaves malloc as it is.
OFF = "--no-tune_malloc"
# The environment variables that change malloc.
VARIABLES = ("LD_PRELOAD", "GLIBC_TUNABLES")
# No allocation is a mapping of its own, the heap never shrinks, and there is one heap, since that of a thread would.
_KEEP = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776:glibc.malloc.arena_max=1"
# Bytes of the pieces of free memory that are set aside.
_LARGEST_PIECE, _SMALLEST_PIECE = 2**26, 2**11


class _MallInfo(ctypes.Structure):
    """struct mallinfo2 of glibc; keepcost is the size of the heap's free end."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that a process in `environment` lacks for a malloc that keeps freed memory.

    None ({}) off Linux, with another C library than glibc, and where the user has chosen an allocator or its settings:
    where LD_PRELOAD or a tunable of malloc is set.
    """
    tunables = environment.get("GLIBC_TUNABLES", "")
    if not _has_glibc() or "LD_PRELOAD" in environment or "glibc.malloc." in tunables:
        return {}
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


def give_back() -> None:
    """Returns free memory to the system, where malloc keeps it: what compiling took, 0.1 to 0.5 GB for a UNet."""
    if _keeps_freed():
        ctypes.CDLL(None).malloc_trim(0)


def set_aside() -> None:
    """Returns free memory to the system and takes its places for good, so that malloc no longer looks through them.

    Compiling a UNet leaves 147,000 free pieces of 0.96 GB in the one heap, which malloc searches for every larger one
    that XLA's convolutions ask for: 8.6% of a step's processor time, under a lock. In a process that had compiled steps
    of DDPM's CIFAR UNet took 3.0 to 3.3 s, in one that loaded the same program 2.5 to 2.7 s (two Intel Xeon cores, five
    starts of each); with this, 2.43 s in both. Nothing is written there: it costs addresses and no memory, and 0.14 s.
    glibc before 2.33 does not tell where the heap's free end is: there memory is given back and no place taken.
    """
    give_back()
    if not _keeps_freed() or not hasattr(library := ctypes.CDLL(None), "mallinfo2"):
        return
    library.mallinfo2.restype = _MallInfo
    library.sbrk.restype = library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes, library.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
    # From here on the heap is in one piece.
    end = library.sbrk(0) - library.mallinfo2().keepcost
    size = _LARGEST_PIECE
    while size >= _SMALLEST_PIECE:
        while (place := library.malloc(size)) is not None and place < end:
            pass
        library.free(place)
        size = size * 3 // 4
    library.malloc_trim(0)


def resident() -> int:
    """Bytes of this process that are in memory, on Linux; 0 elsewhere."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def describe() -> dict[str, str]:
    """The settings of malloc in this process, as JSON-ready values; {} for the C library's own.

    Of libraries it tells the names and not the folders, which say nothing elsewhere.
    """
    settings = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if libraries := settings.get("LD_PRELOAD"):
        settings["LD_PRELOAD"] = " ".join(map(os.path.basename, libraries.replace(":", " ").split()))
    return settings


def _keeps_freed() -> bool:
    """Whether malloc has these settings in this process."""
    return _KEEP in os.environ.get("GLIBC_TUNABLES", "") and _has_glibc()


def _has_glibc() -> bool:
    return platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
