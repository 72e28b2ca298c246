"""A child process: one row of the table by one library. Started by the parent, it reads commands from standard input.

A library has a process of its own, since the thread pools of two in one process disturb each other, and a row too, so
that the peak of memory is that of the row.
"""

import contextlib
import importlib
import importlib.metadata
import json
import pathlib
import re
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from experiments.benchmarks.peers.sizes import Sizes, Work

PACKAGES = ("jax", "jaxlib", "flax", "torch", "diffusers", "denoising-diffusion-pytorch", "numpy")


def main() -> None:
    """Builds the row, calls it once, and then once for every line "go"; the end of the input ends it."""
    request = json.loads(sys.argv[1])
    if request["module"] != "ours":
        from experiments.benchmarks.peers import torchvision_operators

        torchvision_operators.do_without()
    library = importlib.import_module(f"experiments.benchmarks.peers.{request['module']}")
    sizes = Sizes.of(request["sizes"])
    work: Work = library.ROWS[request["row"]](sizes, **request["options"])
    done(work, work.prepare or work.call)
    start_peak()
    answer({"ready_seconds": time.time() - request["begun"], "parameters": work.parameters})
    for line in sys.stdin:
        if line.strip() == "go":
            answer(timed(work, sizes.repeats if work.finish else 1))
    if work.close is not None:
        work.close()
    measured = {"peak_bytes": library.device_memory() or peak_bytes()}
    amount = work.amount() if callable(work.amount) else work.amount  # counting takes memory
    answer(measured | {"amount": amount, "unit": work.unit, "versions": versions(), "device": library.device()})


def done(work: Work, call: Callable[[], Any], repeats: int = 1) -> None:
    """Makes so many calls in a row and waits for the last."""
    for _ in range(repeats):
        result = call()
    if work.finish is not None:
        work.finish(result)


def timed(work: Work, repeats: int) -> dict[str, float]:
    """Seconds of one call of so many in a row, its processor seconds over all threads, and its page faults."""
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    done(work, work.call, repeats)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    of_all = {
        "seconds": seconds,
        "user_seconds": after.ru_utime - before.ru_utime,
        "system_seconds": after.ru_stime - before.ru_stime,
        "page_faults": after.ru_minflt - before.ru_minflt,
    }
    return {name: amount / repeats for name, amount in of_all.items()}


def answer(values: dict[str, Any]) -> None:
    """Sends one line to the parent; libraries print to standard output too, hence the mark."""
    print(f"@{json.dumps(values)}", flush=True)


def start_peak() -> None:
    """Has Linux count the largest resident memory from here on, without what compiling took; nothing elsewhere."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """The largest resident memory of this process, on Linux since `start_peak`."""
    status = pathlib.Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):
        return 1024 * int(found[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def versions() -> dict[str, str]:
    """The versions of the libraries of this row that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
