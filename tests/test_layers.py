"""Imports point one way, the mathematics stays free of frameworks and files, and no file names a machine."""

import ast
import json
import pathlib
import re
import subprocess
import sys

import pytest

from tests.arrows import ARROWS, ROOT, files, imports, module_name, reachable, room_of, used

MATHEMATICS = {"typing", "arrays", "schedules", "processes", "denoisers", "losses", "samplers", "likelihood"}
MATHEMATICS_IMPORTS = {"jax", "numpy", "jaxtyping"}
MATHEMATICS_LAZY_IMPORTS = {"diffrax"}
FILES = {"fileinput", "glob", "io", "os", "pathlib", "pickle", "shelve", "shutil", "sqlite3", "tempfile"}
CONSOLE_AND_NETWORK = {"argparse", "http", "logging", "socket", "subprocess", "sys", "urllib"}
INPUT_OUTPUT = FILES | CONSOLE_AND_NETWORK
INPUT_OUTPUT_CALLS = {"open", "print", "input", "breakpoint"}
NOWHERE = {"tensorflow", "torch"}


def objections(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What is wrong with the imports of a module of diffax, or of launch.py: one line each, none if all is well."""
    room, tree = room_of(module), ast.parse(source)
    if room and room not in ARROWS:
        return [f"{module}: '{room}' is no room that ARROWS knows"]
    allowed = reachable(room) if room else set()
    found = []
    for line, target, lazy in imports(tree, module if is_package else module.rpartition(".")[0]):
        top = target.partition(".")[0]
        if top == "diffax":
            below = room_of(target)
            if below in ARROWS and below not in allowed:
                found.append(f"{module}:{line} imports {below}, which is not below '{room or 'diffax'}'")
        elif top in NOWHERE:
            found.append(f"{module}:{line} imports {top}, which diffax does without")
        elif not room and top not in sys.stdlib_module_names:
            found.append(f"{module}:{line} imports {top}, and import diffax is to stay light")
        elif room in MATHEMATICS:
            if top in INPUT_OUTPUT:
                found.append(f"{module}:{line} imports {top}, and the mathematics does no input or output")
            elif top in MATHEMATICS_LAZY_IMPORTS and not lazy:
                found.append(f"{module}:{line} imports {top} at the top, not inside the function that needs it")
            elif top not in MATHEMATICS_IMPORTS | MATHEMATICS_LAZY_IMPORTS | sys.stdlib_module_names:
                found.append(f"{module}:{line} imports {top}, which the mathematics does without")
    if room in MATHEMATICS:
        found += [
            f"{module}:{node.lineno} calls {node.func.id}(), and the mathematics does no input or output"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in INPUT_OUTPUT_CALLS
        ]
    return found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("diffax.schedules.cosine", "from diffax import processes"),
        ("diffax.schedules.cosine", "from diffax import arrays, samplers"),
        ("diffax.schedules.cosine", "import diffax.processes.gaussian as gaussian"),
        ("diffax.schedules.cosine", "from diffax.denoisers.network import from_network"),
        ("diffax.schedules.cosine", "from .. import losses"),
        ("diffax.schedules.cosine", "from ..losses import denoising"),
        ("diffax.schedules.cosine", "def f():\n    from diffax import losses"),
        ("diffax.schedules.cosine", "import importlib\nimportlib.import_module('diffax.losses')"),
        ("diffax.typing", "from . import arrays"),
        ("diffax.losses.denoising", "from diffax import samplers"),
        ("diffax.samplers.loop", "from diffax import likelihood"),
        ("diffax.networks.unet", "from diffax import schedules"),
        ("diffax.devices", "from diffax import schedules"),
        ("diffax.training.loop", "from diffax import evaluation"),
        ("diffax.training.loop", "from diffax.samplers import loop"),
        ("diffax.build", "from diffax import jobs"),
        ("diffax.runs.trained", "from diffax.jobs import train"),
        ("diffax.evaluation.evaluators", "from diffax import runs"),
        ("diffax.utils", "import numpy"),
        ("diffax.samplers.loop", "import flax.linen as nn"),
        ("diffax.samplers.loop", "from optax import adam"),
        ("diffax.losses.denoising", "import matplotlib.pyplot as plt"),
        ("diffax.likelihood.probability_flow", "import diffrax"),
        ("diffax.arrays", "from pathlib import Path"),
        ("diffax.arrays", "import os.path"),
        ("diffax.arrays", "print(1)"),
        ("diffax.data.tfds", "def f():\n    import tensorflow as tf"),
        ("diffax.evaluation.features", "from torch import nn"),
        ("launch", "import torch"),
        ("diffax", "import numpy"),
        ("diffax", "from diffax import schedules"),
    ],
)
def test_a_bad_import_is_objected_to(module: str, source: str) -> None:
    assert len(objections(source, module, is_package=module == "diffax")) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("diffax.typing", "import typing\nimport numpy as np\nfrom jaxtyping import Float"),
        ("diffax.schedules.cosine", "import jax.numpy as jnp\nfrom diffax import arrays, typing\nfrom . import limits"),
        ("diffax.samplers.loop", "from diffax import denoisers, schedules\nfrom ..samplers import table"),
        ("diffax.likelihood.probability_flow", "def f():\n    import diffrax"),
        ("diffax.networks.unet", "import flax.linen as nn\nfrom diffax import arrays"),
        ("diffax.data.tfds", "import os\nimport tensorflow_datasets as tfds\nprint(1)"),
        ("diffax.training.loop", "from diffax import __version__, losses, data, devices, reporting, schedules"),
        ("diffax.build", "from diffax import training, samplers, evaluation, networks"),
        ("diffax.jobs.train", "from diffax import build, training, samplers\nfrom diffax.runs import errors"),
        ("launch", "from absl import app\nfrom diffax import devices, jobs, sweeps"),
        ("diffax", "import importlib.metadata"),
    ],
)
def test_a_good_import_is_not(module: str, source: str) -> None:
    assert objections(source, module, is_package=module == "diffax") == []


def test_imports_of_diffax_point_down() -> None:
    found = [
        line
        for path in files()
        for line in objections(path.read_text(), module_name(path), is_package=path.name == "__init__.py")
    ]
    assert not found, "\n".join(found)


def test_arrows_are_listed_room_by_room() -> None:
    listed = subprocess.run([sys.executable, "-m", "tests.arrows"], cwd=ROOT, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    assert "samplers        imports  typing, arrays, processes\n" in listed.stdout
    assert len(listed.stdout.splitlines()) == 2 * len(used()) + 1


def test_rooms_are_imported_when_they_are_first_used() -> None:
    seen = loaded_by("import diffax\nassert diffax.samplers.ddim and diffax.schedules.Cosine")
    assert "jax" in seen["packages"] and "flax" not in seen["packages"]
    seen = loaded_by(
        "import diffax\ntry: diffax.no_such_room\nexcept AttributeError as error: assert 'no_such' in str(error)"
    )
    assert "jax" not in seen["packages"]


def loaded_by(code: str) -> dict[str, bool | list[str]]:
    """The packages a fresh interpreter has loaded after `code`, and whether JAX's backend and environment changed."""
    report = """
import json, sys
bridge = sys.modules.get("jax._src.xla_bridge")
packages = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"packages": packages, "backend": bool(bridge and bridge.backends_are_initialized()),
                  "environment": dict(os.environ) != before}))
"""
    code = f"import os\nbefore = dict(os.environ)\n{code}\n{report}"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_import_diffax_is_light() -> None:
    seen = loaded_by("import diffax")
    assert not {"jax", "flax", "optax", "tensorflow", "torch", "matplotlib", "numpy"} & set(seen["packages"])
    assert not seen["environment"]


def test_the_mathematics_loads_no_framework_and_starts_no_backend() -> None:
    paths = [path for path in (ROOT / "diffax").rglob("*.py") if room_of(module_name(path)) in MATHEMATICS]
    seen = loaded_by("\n".join(f"import {module_name(path)}" for path in sorted(paths)))
    assert not {"flax", "optax", "orbax", "tensorflow", "torch", "matplotlib", "diffrax"} & set(seen["packages"])
    assert not seen["backend"]
    assert not seen["environment"]


def project_files() -> list[pathlib.Path]:
    """The files of the repository: git's where there is git, else all outside environments, caches and runs."""
    git = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if git.returncode == 0:
        paths = [ROOT / name for name in git.stdout.split("\0") if name]
    else:
        skipped = re.compile(r"\.venv|\.git$|runs$|build$|dist$|__pycache__|\.\w+_cache|.*\.egg-info")
        paths = [p for p in ROOT.rglob("*") if not any(skipped.match(part) for part in p.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file()]


def test_no_file_names_a_machine_or_a_package_index() -> None:
    """Put together here, so that this file does not hold what it looks for."""
    folders = "|".join(["work", "root", "home", "Users"])
    hosts = "|".join(rf"{name}\.{ending}" for name, ending in [("pypi", "org"), ("pythonhosted", "org")])
    pattern = re.compile(rf"(?<![\w.])/({folders})/|{hosts}")
    found = []
    for path in project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in pattern.finditer(text)]
    assert not found, "\n".join(found)
