"""Every experiment can be imported and described by --help, and its README names commands and files that exist."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from experiments.few_steps import methods

ROOT = pathlib.Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for pattern in ("*/__main__.py", "benchmarks/*/__main__.py", "*/[!_]*.py")
    for path in ROOT.glob(f"experiments/{pattern}")
    if "__name__ == " in path.read_text()
)


def test_there_are_experiments():
    assert "experiments.solver_orders" in MODULES and len(MODULES) > 5


def test_every_experiment_names_its_command_and_has_help():
    """In one child process for all, since importing them takes seconds."""
    code = """
import contextlib, importlib, importlib.util, io, sys
for name in sys.argv[1:]:
    found = importlib.util.find_spec(name)
    module = importlib.import_module(name + ".__main__" if found.submodule_search_locations else name)
    assert f"python -m {name}" in module.__doc__, name
    sys.argv, output = [name, "--help"], io.StringIO()
    with contextlib.redirect_stdout(output):
        try:
            module.main()
        except SystemExit as exit:
            assert exit.code == 0, name
    assert "--no_write" in output.getvalue(), name
print("all")
"""
    done = subprocess.run([sys.executable, "-c", code, *MODULES], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "all\n", done.stderr


@pytest.mark.parametrize("readme", sorted(ROOT.glob("experiments/*/README.md")), ids=lambda path: path.parent.name)
def test_a_readme_names_a_command_pictures_and_files_that_exist(readme):
    text = readme.read_text()
    commands, configs = (
        re.findall(f"python {start}(experiments[./\\w]+)", text) for start in ("-m ", "launch.py --config ")
    )
    assert (commands or configs) and set(commands) <= set(MODULES)
    assert all((ROOT / config).is_file() for config in configs), configs
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (readme.parent / target).is_file(), target
    for path in re.findall(r"`((?:configs|diffax|experiments|tests)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path


def test_methods_in_few_steps_have_one_budget_and_a_directory_each():
    compared = {name: method for name, method in methods.METHODS.items() if method.evaluations}
    assert all(methods.BUDGET - method.cost < method.total <= methods.BUDGET for method in compared.values())
    measured = json.loads((ROOT / "experiments" / "benchmarks" / "flow_maps.json").read_text())["methods"]
    costs = {name: methods.METHODS[name].cost for name in measured if name in methods.METHODS}
    assert costs == pytest.approx({name: measured[name]["cost"] for name in costs}, rel=0.02)
    assert len({methods.folder(ROOT, name, seed) for name in methods.METHODS for seed in (0, 1)}) == 2 * len(
        methods.METHODS
    )
    assert all((ROOT / "configs" / f"{method.config}.py").is_file() for method in methods.METHODS.values())
