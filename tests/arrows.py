"""The rooms of diffax, which of them each may import, and which it does: `python -m tests.arrows` prints them."""

import ast
import pathlib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[1]

# Each room and the rooms it imports; what those import, it may import too.
ARROWS = {
    "typing": (),
    "arrays": ("typing",),
    "schedules": ("arrays",),
    "processes": ("schedules", "streams"),
    "denoisers": ("processes", "conditions"),
    "losses": ("denoisers",),
    "samplers": ("denoisers",),
    "likelihood": ("denoisers",),
    "conditions": (),
    "networks": ("arrays", "conditions"),
    "data": ("arrays", "conditions"),
    "allocator": (),
    "devices": ("arrays", "allocator"),
    "distributed": ("arrays",),
    "sharding": ("arrays",),
    "reporting": ("arrays",),
    "streams": (),
    "text": ("networks", "devices", "choices"),
    "training": ("losses", "data", "devices", "distributed", "sharding", "reporting", "streams"),
    "evaluation": ("samplers", "likelihood", "networks", "data", "devices", "reporting"),
    "config": (),
    "config_file": (),
    "choices": (),
    "build_conditions": ("data", "text", "choices"),
    "build_pairing": ("training", "build_conditions"),
    "build_data": ("build_pairing",),
    "build_training": ("training", "networks", "build_conditions"),
    "build_likelihood": ("likelihood", "choices"),
    "build_sampler": ("samplers", "conditions", "choices"),
    "build": ("build_data", "build_training", "build_sampler", "build_likelihood", "evaluation"),
    "resolve": ("build", "config"),
    "runs": ("resolve", "config_file"),
    "jobs": ("runs",),
    "sweeps": ("jobs",),
    "launch": ("sweeps",),
}


def reachable(room: str) -> set[str]:
    """The rooms that `room` may import, itself included."""
    return {room}.union(*(reachable(below) for below in ARROWS[room]))


def module_name(path: pathlib.Path) -> str:
    """diffax.samplers.loop for diffax/samplers/loop.py, diffax.samplers for diffax/samplers/__init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """samplers for diffax.samplers.loop, launch for launch, "" for diffax itself."""
    return module.removeprefix("diffax").removeprefix(".").partition(".")[0]


def imports(tree: ast.Module, package: str) -> Iterator[tuple[int, str, bool]]:
    """(line, absolute name of the module or thing imported, inside a function?) of every import, however written."""
    lazy = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                targets = [alias.name for alias in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                parents = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                base = ".".join([*parents, *([module] if module else [])])
                targets = [f"{base}.{alias.name}" for alias in names]
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                targets = [name]
            case _:
                continue
        for target in targets:
            yield node.lineno, target, id(node) in lazy


def files() -> list[pathlib.Path]:
    """The modules of diffax, and launch.py."""
    return [*sorted((ROOT / "diffax").rglob("*.py")), *ROOT.glob("launch.py")]


def used() -> dict[str, set[str]]:
    """Each room and the other rooms that it imports."""
    found: dict[str, set[str]] = {}
    for path in files():
        module = module_name(path)
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        room = found.setdefault(room_of(module), set())
        for _, target, _ in imports(ast.parse(path.read_text()), package):
            if target.partition(".")[0] == "diffax" and room_of(target) in ARROWS:
                room.add(room_of(target))
    return {room: below - {room} for room, below in found.items() if room}


def main() -> None:
    found = used()
    for room in ARROWS:
        if room in found:
            print(f"{room:<16}imports  {', '.join(sorted(found[room], key=list(ARROWS).index)) or 'nothing'}")
    print()
    for room in ARROWS:
        importers = [other for other in ARROWS if room in found.get(other, ())]
        if room in found:
            print(f"{room:<16}is imported by  {', '.join(importers) or 'nothing'}")


if __name__ == "__main__":
    main()
