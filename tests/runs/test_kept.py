"""What a second start finds, and what makes it start anew."""

import dataclasses
import os
import pathlib
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import arrays
from diffax.reporting import metrics
from diffax.runs import kept
from tests.jobs.test_launch import UNEVALUATED

ROOT = pathlib.Path(__file__).parents[2]
NETWORK = """
import sys
from tests import tiny

class Network(tiny.Network):
    def __call__(self, *arguments, **named):
        print("traced", file=sys.stderr)
        return FACTOR * super().__call__(*arguments, **named)
"""
COMMAND = (
    "--config=configs/spiral.py",
    "--config.model.name=net:Network",
    "--config.train.batch_size=4",
    "--config.train.num_steps=2",
    "--config.train.log_every=1",
    "--config.optimizer.warmup_steps=0",
    *UNEVALUATED,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of what is kept in this test."""
    monkeypatch.setattr(kept, "_folder", lambda: tmp_path / "kept")
    return tmp_path / "kept"


def start(tmp_path, name, *flags):
    """(how often a run of launch.py traced its network before the report, the losses and norms of its steps)."""
    settings = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, ROOT / "launch.py", *COMMAND, *flags, "--workdir", tmp_path / name]
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    values = [(line["loss"], line["grad_norm"]) for line in metrics.read(tmp_path / name) if "loss" in line]
    assert len(values) == 2
    return done.stderr.count("traced"), values


def test_a_second_start_traces_nothing_until_something_changes(tmp_path):
    network = tmp_path / "net.py"
    network.write_text(f"FACTOR = 1.0\n{NETWORK}")
    first, expected = start(tmp_path, "first")
    second, same = start(tmp_path, "second")
    # The report draws samples, whose program is not kept: what is left is its trace.
    again, _ = start(tmp_path, "off", "--no-compilation_cache")
    assert first == again > second
    assert same == expected
    network.write_text(f"FACTOR = 2.0\n{NETWORK}")
    changed, others = start(tmp_path, "changed")
    assert changed == first and others != expected
    slower, _ = start(tmp_path, "slower", "--config.seed=1")
    assert slower == first


def test_programs_and_values_are_found_again(folder):
    traced, compiled = [], []

    def lower(scale):
        traced.append(scale)
        return jax.jit(lambda x: scale * x).lower(jnp.ones(3))

    def compile(lowered):
        compiled.append(len(compiled))
        return lowered.compile(), {"number": compiled[-1]}

    for _ in range(2):
        for number, scale in enumerate((2.0, 3.0)):
            program, known = kept.program(("times", scale), jax.devices(), lambda scale=scale: lower(scale), compile)
            np.testing.assert_array_equal(program(jnp.arange(3.0)), scale * np.arange(3.0))
            assert known == {"number": number}
    assert traced == [2.0, 3.0] and compiled == [0, 1]
    # Traced for another reason, and the same program.
    assert kept.program(("times", "another"), jax.devices(), lambda: lower(3.0), compile)[1] == {"number": 1}
    assert traced == [2.0, 3.0, 3.0]
    assert [kept.value(["one"], lambda: 1), kept.value(["one"], lambda: 2)] == [1, 1]


def test_a_program_of_jaxs_cache_is_compiled_anew(folder):
    """XLA's CPU client would write it without its code."""
    x = jnp.arange(300.0).reshape(3, 100)

    def lower():
        jax.clear_caches()
        return jax.jit(lambda x: jnp.sin(x) * x.sum() + jnp.tanh(x @ x.T).sum()).lower(x)

    expected = lower().compile()(x)  # and JAX's cache has it
    for _ in range(2):
        program, _ = kept.program(["sine"], jax.devices(), lower, lambda lowered: (lowered.compile(), None))
        np.testing.assert_array_equal(program(x), expected)


ON_TWO_OF_FOUR = """
import jax
import jax.numpy as jnp
import numpy as np
jax.config.update("jax_num_cpu_devices", 4)
from diffax import devices
from diffax.runs import kept
devices.enable_compilation_cache()
for some in (jax.devices()[1:3], jax.devices()[:1], jax.devices()):
    mesh = jax.sharding.Mesh(np.array(some), "x")
    x = jax.device_put(jnp.arange(4.0), jax.sharding.NamedSharding(mesh, jax.P("x")))
    lower = lambda: print("traced") or jax.jit(lambda x: 2 * x).lower(x)
    program, _ = kept.program(["two"], some, lower, lambda lowered: (lowered.compile(), None))
    result = program(x)
    assert result.tolist() == [0, 2, 4, 6] and sorted(map(str, result.devices())) == sorted(map(str, some))
"""


def test_a_program_runs_on_the_devices_it_is_for(tmp_path):
    settings = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    for traced in (3, 0):
        command = [sys.executable, "-c", ON_TWO_OF_FOUR]
        done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.count("traced") == traced, done.stderr


def test_what_is_damaged_is_made_anew(folder):
    kept.value(["one"], lambda: 1)
    [path] = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.warns(UserWarning, match="cannot be read"):
        assert kept.value(["one"], lambda: 2) == 2
    assert kept.value(["one"], lambda: 3) == 2


def test_a_module_that_tracing_imported_counts_too(folder, tmp_path):
    helper = tmp_path / "helper.py"
    helper.write_text("scale = 1\n")
    kept.value(["one"], lambda: 1)
    [path] = folder.iterdir()
    sources, contents = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps((sources | {str(helper): kept._contents(str(helper))}, contents)))
    assert kept.value(["one"], lambda: 2) == 1
    helper.write_text("scale = 10\n")
    assert kept.value(["one"], lambda: 2) == 2


def test_what_cannot_be_pickled_or_has_an_address_is_made_every_time(folder):
    function = kept.value(["function"], lambda: lambda: 1)
    assert function() == 1
    assert [kept.value([object()], lambda value=value: value) for value in (1, 2)] == [1, 2]
    assert not folder.exists()


class Mark:
    """An object that equals no copy of it."""

    def __repr__(self):
        return "Mark"


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Marked:
    x: jax.Array
    mark: Mark = dataclasses.field(metadata={"static": True})


def test_trees_whose_structure_equals_no_copy_of_it_are_made_every_time(folder):
    """As those of Equinox's modules: a program that was read would give, and ask for, another structure."""
    tree, compiled = Marked(jnp.arange(3.0), Mark()), []
    for _ in range(2):
        shapes = kept.value(["shapes"], lambda: jax.eval_shape(lambda: tree))
        assert jax.tree.structure(shapes) == jax.tree.structure(tree)
        program, _ = kept.program(
            ["marked"],
            jax.devices(),
            lambda: jax.jit(lambda tree: jax.tree.map(lambda x: 2 * x, tree)).lower(tree),
            lambda lowered: compiled.append(1) or (lowered.compile(), None),
        )
        doubled = program(tree)
        assert jax.tree.structure(doubled) == jax.tree.structure(tree) and doubled.x[2] == 4
    assert len(compiled) == 2


def test_the_oldest_make_room(folder, monkeypatch):
    kept.value(["old"], lambda: bytes(1000))
    [path] = folder.iterdir()
    os.utime(path, (0, 0))
    monkeypatch.setattr(kept, "_LARGEST", 2 * path.stat().st_size - 1)
    kept.value(["new"], lambda: bytes(1000))
    assert len(list(folder.iterdir())) == 1 and not path.exists()


def test_nothing_is_kept_without_a_cache_and_where_nothing_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "_folder", lambda: None)
    assert [kept.value(["one"], lambda value=value: value) for value in (1, 2)] == [1, 2]
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(kept, "_folder", lambda: tmp_path / "file" / "kept")
    with pytest.warns(UserWarning, match="are not kept"):
        assert kept.value(["one"], lambda: 1) == 1


def test_shapes_tell_arrays_apart_by_shape_and_dtype_and_not_by_value():
    same = [kept.shapes({"a": jnp.full(3, value)}) for value in (1.0, 2.0)]
    assert same[0] == same[1] != kept.shapes({"a": jnp.ones(4)}) != kept.shapes({"a": jnp.ones(4, jnp.int32)})
