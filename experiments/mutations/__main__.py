"""Which single mistakes the tests notice: python -m experiments.mutations

Copies the files of the repository to a temporary directory, puts one mistake of mistakes.py at a time into the copy and
runs the tests that should notice it, with the copy first on PYTHONPATH. Before that, the same tests have to pass in the
copy as it is. Writes results.json.
"""

import importlib.util
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

# Imported once for all tests, before the process forks.
import beartype  # noqa: F401
import flax.linen  # noqa: F401
import jax  # noqa: F401
import optax  # noqa: F401
import orbax.checkpoint  # noqa: F401
import pytest

from experiments import common
from experiments.mutations.mistakes import MISTAKES, Mistake

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
_OURS = ("configs", "diffax", "experiments", "launch", "tests")
_PASSED, _FAILED, _STOPPED = 0, 1, 2  # exit codes of pytest; 2 is also an error while tests are collected


def main() -> None:
    parser = common.make_parser(__doc__, with_runs=False)
    parser.add_argument("--only", default="", help="mistakes with one of these texts, separated by |")
    parser.add_argument("--skip_unchanged", action="store_true", help="do not run the tests on the code as it is")
    args = parser.parse_args()
    texts = args.only.split("|")
    mistakes = [one for one in MISTAKES if any(text in one.what or text in one.file for text in texts)]
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder).resolve()
        copied(copy)
        if not args.skip_unchanged:
            for tests in dict.fromkeys(one.tests for one in mistakes):
                if run_tests(copy, tests) != _PASSED:
                    sys.exit(f"without any mistake these do not pass: pytest {tests}")
        for number, mistake in enumerate(mistakes, start=1):
            start = time.monotonic()
            outcome = tried(copy, mistake)
            seconds = round(time.monotonic() - start, 1)
            print(f"{number:3d}/{len(mistakes)}  {outcome:8s} {seconds:6.1f} s  {mistake.what}", flush=True)
            outcomes.append(
                {"mistake": mistake.what, "file": mistake.file, "tests": mistake.tests, "outcome": outcome}
                | {"seconds": seconds}
            )
    print("caught", sum(outcome["outcome"] == "caught" for outcome in outcomes), "of", len(outcomes))
    if not args.no_write:
        write(outcomes)


def write(outcomes: list[dict[str, Any]]) -> None:
    """Writes results.json; outcomes of a part of the mistakes take the place of those that are there."""
    path, known = HERE / "results.json", {}
    if path.exists():
        known = {outcome["mistake"]: outcome for outcome in json.loads(path.read_text())["mistakes"]}
    known |= {outcome["mistake"]: outcome for outcome in outcomes}
    everything = [known[mistake.what] for mistake in MISTAKES if mistake.what in known]
    caught = sum(outcome["outcome"] == "caught" for outcome in everything)
    seconds = round(sum(outcome["seconds"] for outcome in everything))
    common.write(path, {"caught": caught, "of": len(everything), "seconds": seconds, "mistakes": everything})


def copied(target: pathlib.Path) -> None:
    """Copies the tracked files of the repository, and new ones that Git does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def tried(copy: pathlib.Path, mistake: Mistake) -> str:
    """The outcome of a mistake, which is taken out of the copy again: caught, survived, or invalid.

    Invalid is one whose text does not stand once in its file, that is no Python, or whose tests do not exist.
    """
    path = copy / mistake.file
    before = path.read_text()
    if before.count(mistake.old) != 1:
        return "invalid"
    after = before.replace(mistake.old, mistake.new)
    try:
        compile(after, mistake.file, "exec")
    except SyntaxError:
        return "invalid"
    path.write_text(after)
    try:
        code = run_tests(copy, mistake.tests)
    finally:
        path.write_text(before)
    return {_PASSED: "survived", _FAILED: "caught", _STOPPED: "caught"}.get(code, "invalid")


def run_tests(copy: pathlib.Path, tests: str) -> int:
    """The exit code of pytest in the copy, in a fork of this process: importing JAX and its like takes seconds."""
    child = os.fork()
    if child == 0:
        code = -1
        try:
            code = _pytest(copy, tests)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _pytest(copy: pathlib.Path, tests: str) -> int:
    """Runs pytest with the modules of the copy in the place of those that this process has imported."""
    os.chdir(copy)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    for name in list(sys.modules):
        if name.partition(".")[0] in _OURS:
            del sys.modules[name]
    sys.path[:] = [str(copy), *(path for path in sys.path if path and pathlib.Path(path).resolve() != ROOT)]
    os.environ["PYTHONPATH"] = str(copy)
    diffax = importlib.util.find_spec("diffax")
    assert diffax is not None and diffax.origin is not None and pathlib.Path(diffax.origin).is_relative_to(copy)
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-n", "0", *shlex.split(tests)]))


if __name__ == "__main__":
    main()
