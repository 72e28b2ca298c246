"""Every experiment says what it does, and is described where its result lies."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for path in [*ROOT.glob("experiments/*/__main__.py"), *ROOT.glob("experiments/benchmarks/[!_]*.py")]
)


def test_there_are_experiments():
    assert "experiments.solver_orders" in MODULES and len(MODULES) > 5


def test_every_experiment_can_be_imported_and_names_its_command():
    """In one process of their own: each imports half of diffax."""
    code = """
import importlib, sys
for name in sys.argv[1:]:
    found = importlib.util.find_spec(name)
    module = importlib.import_module(name + ".__main__" if found.submodule_search_locations else name)
    assert f"python -m {name}" in module.__doc__ and callable(module.main), name
print("all")
"""
    command = [sys.executable, "-c", f"import importlib.util\n{code}", *MODULES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "all\n", done.stderr


@pytest.mark.parametrize("readme", sorted(ROOT.glob("experiments/*/README.md")), ids=lambda path: path.parent.name)
def test_a_description_names_a_command_and_pictures_that_exist(readme):
    text = readme.read_text()
    commands = re.findall(r"python -m (experiments[.\w]+)", text)
    assert commands and set(commands) <= set(MODULES)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (readme.parent / target).is_file(), target
