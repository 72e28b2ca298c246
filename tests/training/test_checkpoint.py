import dataclasses
import itertools
import logging
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import monitoring

from diffax import arrays
from diffax.training import checkpoint


@arrays.register_pytree
@dataclasses.dataclass
class State:
    params: dict
    optimizer: Any
    key: jax.Array
    step: jax.Array


def make_state(seed=0):
    rng = np.random.default_rng(seed)
    params = {
        "block_0": {"kernel": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), "bias": jnp.zeros(4)},
        "half": jnp.asarray(rng.normal(size=5), jnp.bfloat16),
        "odd": jnp.array([np.nan, -0.0, np.inf, 1e-45], jnp.float32),
    }
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)).init(params)
    return State(params, optimizer, jax.random.key(seed), jnp.int32(seed))


def bits(tree):
    """Every leaf as (dtype, shape, bytes)."""
    leaves = [
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in jax.tree.leaves(tree)
    ]
    return [(str(x.dtype), x.shape, np.asarray(x).tobytes()) for x in leaves]


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    assert bits(left) == bits(right)


def test_no_checkpoint_is_none_and_nothing_is_created(tmp_path):
    with checkpoint.Checkpoints(tmp_path / "none") as checkpoints:
        assert checkpoints.restore_newest(make_state()) is None and checkpoints.steps() == []
        assert checkpoints.best() is None
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("abstract", [False, True])
def test_round_trip_is_bitwise(tmp_path, abstract):
    state = make_state(7)
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.save(10, state)
    like = jax.eval_shape(make_state) if abstract else make_state(1)
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        step, restored = checkpoints.restore_newest(like)
    assert step == 10
    assert_same(restored, state)
    np.testing.assert_array_equal(jax.random.normal(restored.key, (3,)), jax.random.normal(jax.random.key(7), (3,)))


def test_saving_in_quick_succession_loses_nothing(tmp_path):
    states = {step: make_state(step) for step in (1, 2, 3, 5)}
    with checkpoint.Checkpoints(tmp_path, keep=10) as checkpoints:
        for step, state in states.items():
            assert checkpoints.save(step, state)
        assert checkpoints.steps() == [1, 2, 3, 5]
        for step, state in states.items():
            assert_same(checkpoints.restore(step, make_state()), state)


def test_the_newest_are_kept(tmp_path):
    for start in (0, 5):
        with checkpoint.Checkpoints(tmp_path, keep=2) as checkpoints:
            for step in range(start, start + 5):
                checkpoints.save(step, make_state(step))
            assert checkpoints.steps() == [start + 3, start + 4]
        assert sorted(path.name for path in tmp_path.iterdir()) == [str(start + 3), str(start + 4)]


def test_a_saved_step_is_not_replaced(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.save(1, make_state(1), description={"config": {"seed": 3}})
        assert not checkpoints.save(1, make_state(2))
        assert_same(checkpoints.restore(1, make_state()), make_state(1))
        assert checkpoints.description(1) == {"metric": None, "config": {"seed": 3}}


def test_the_best_is_kept_beside_the_newest_and_survives_restarts(tmp_path):
    metrics = {1: 5.0, 2: 3.0, 3: None, 4: 4.0, 5: float("nan"), 6: 3.0, 7: 9.0}
    for step, metric in metrics.items():
        with checkpoint.Checkpoints(tmp_path, keep=2) as checkpoints:
            assert checkpoints.save(step, {"x": jnp.full(3, step)}, metric=metric)
    with checkpoint.Checkpoints(tmp_path, keep=2) as checkpoints:
        # Of equals the first, so that it does not move.
        assert checkpoints.steps() == [2, 6, 7] and checkpoints.best() == (2, 3.0)
        checkpoints.save(8, {"x": jnp.full(3, 8)}, metric=2.0)
        assert checkpoints.steps() == [7, 8] and checkpoints.best() == (8, 2.0)
        checkpoints.save(9, {"x": jnp.full(3, 9)})
        checkpoints.save(10, {"x": jnp.full(3, 10)})
        assert checkpoints.steps() == [8, 9, 10]


def test_the_highest_metric_is_kept_where_that_is_best(tmp_path):
    metrics = {1: 5.0, 2: 9.0, 3: None, 4: 8.0, 5: float("nan"), 6: 9.0, 7: -1.0}
    for step, metric in metrics.items():
        with checkpoint.Checkpoints(tmp_path, keep=2, highest_is_best=True) as checkpoints:
            assert checkpoints.save(step, {"x": jnp.full(3, step)}, metric=metric)
    with checkpoint.Checkpoints(tmp_path, keep=2, highest_is_best=True) as checkpoints:
        assert checkpoints.steps() == [2, 6, 7] and checkpoints.best() == (2, 9.0)
        assert checkpoints.is_better(9.5) and not checkpoints.is_better(9.0) and not checkpoints.is_better(-1.0)
        checkpoints.save(8, {"x": jnp.full(3, 8)}, metric=10.0)
        assert checkpoints.steps() == [7, 8] and checkpoints.best() == (8, 10.0)
        assert_same(checkpoints.restore(8, {"x": jnp.zeros(3, jnp.int32)}), {"x": jnp.full(3, 8)})


def test_a_metric_is_better_than_all_before(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.is_better(3.0)
        checkpoints.save(1, {"x": jnp.zeros(3)})
        assert checkpoints.is_better(3.0)  # nothing was measured at step 1
        checkpoints.save(2, {"x": jnp.zeros(3)}, metric=3.0)
        assert checkpoints.is_better(2.9) and not checkpoints.is_better(3.0) and not checkpoints.is_better(3.1)
        assert not checkpoints.is_better(float("nan"))


def test_what_is_measured_after_a_save_counts(tmp_path):
    with checkpoint.Checkpoints(tmp_path, keep=1) as checkpoints:
        for step, metric in ((1, 5.0), (2, 3.0), (3, 4.0)):
            checkpoints.save(step, {"x": jnp.full(3, step)}, description={"to_measure": True})
            checkpoints.wait()
            assert checkpoints.description(step) == {"metric": None, "to_measure": True}
            checkpoints.amend(step, metric=metric, description={"to_measure": False})
            assert checkpoints.description(step) == {"metric": metric, "to_measure": False}
        assert checkpoints.best() == (2, 3.0) and checkpoints.steps() == [2, 3]
        checkpoints.save(4, {"x": jnp.full(3, 4)})
        checkpoints.amend(4, metric=2.0, description={})
        assert checkpoints.best() == (4, 2.0) and checkpoints.steps() == [4]
        checkpoints.amend(4, metric=float("nan"), description={})
        assert checkpoints.best() is None and checkpoints.steps() == [4]
        assert_same(checkpoints.restore(4, {"x": jnp.zeros(3, jnp.int32)}), {"x": jnp.full(3, 4)})


@pytest.mark.parametrize("deaths", [0, 1, 2, 3])
def test_killed_while_it_adds_a_metric_a_checkpoint_is_whole(tmp_path, monkeypatch, deaths):
    """It dies before or after the rename of the manifest or of the description."""
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": jnp.arange(3)}, description={"a": 1})
        checkpoints.wait()
        replace, count = os.replace, itertools.count()

        def dying(source, target):
            if next(count) == deaths // 2:
                if deaths % 2:
                    replace(source, target)
                # What a write leaves where nothing can be tidied up.
                pathlib.Path(target).with_name(".description.json.1.partial").write_text("{")
                raise KeyboardInterrupt
            replace(source, target)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "replace", dying)
            checkpoints.amend(1, metric=2.0, description={"a": 2})
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.description(1) == ({"metric": 2.0, "a": 2} if deaths == 3 else {"metric": None, "a": 1})
        assert_same(checkpoints.restore(1, {"x": jnp.zeros(3, jnp.int32)}), {"x": jnp.arange(3)})
        (tmp_path / "1" / "description.json").write_text("{}")
        with pytest.raises(ValueError, match=r"damaged: description.json is not what was written"):
            checkpoints.restore(1, {"x": jnp.zeros(3, jnp.int32)})


@pytest.fixture
def orbax_reads(monkeypatch):
    """Lists of the trees that Orbax is asked for, and of the bytes of arrays it read by its own account."""
    asked, read = [], []
    load = checkpoint.ocp.load
    monkeypatch.setattr(checkpoint.ocp, "load", lambda path, tree: asked.append(tree) or load(path, tree))

    def listen(name, value, **_):
        if name == "/jax/orbax/read/worker/io/requested/gbytes":
            read.append(round(value * 2**30))

    monitoring.register_scalar_listener(listen)
    yield asked, read
    monitoring.unregister_scalar_listener(listen)


@pytest.mark.parametrize("abstract", [False, True])
def test_a_partial_restore_reads_only_the_arrays_it_is_asked_for(tmp_path, orbax_reads, abstract):
    """One of two averages, 12 and 4 numbers of 4 bytes, a vector of 5 of 2 bytes and one of 4 of 4 bytes."""
    asked, read = orbax_reads
    state = {"params": make_state(1).params, "opt_state": make_state(2).optimizer, "key": jax.random.key(5)}
    state["ema"] = {"0": make_state(3).params, "1": make_state(4).params}
    average = jax.eval_shape(make_state).params if abstract else make_state().params
    like = {"ema": {"1": average}}
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, state)
        everything = checkpoints.restore(7, state)
        step, newest = checkpoints.restore_newest(like, partial=True)
        chosen = checkpoints.restore(7, like, partial=True)
        with pytest.raises(ValueError, match=r"does not fit: expected ema/0/block_0/bias absent, came float32 \(4,\)"):
            checkpoints.restore(7, like)
    assert step == 7
    assert_same(everything, state)
    for restored in (newest, chosen):
        assert_same(restored, {"ema": {"1": state["ema"]["1"]}})
    assert [len(jax.tree.leaves(tree)) for tree in asked] == [len(jax.tree.leaves(state)), 4, 4]
    assert read[1:] == [12 * 4 + 4 * 4 + 5 * 2 + 4 * 4] * 2 and read[0] > 4 * read[1]


def test_a_partial_restore_of_what_is_not_there_is_refused(tmp_path):
    state = {"params": {"w": jnp.zeros((2, 3))}, "ema": {"0": {"w": jnp.zeros((2, 3))}}}
    cases = [
        ({"ema": {"1": {"w": jnp.zeros((2, 3))}}}, r"expected ema/1/w float32 \(2, 3\), came absent"),
        ({"ema": {"0": {"w": jnp.zeros((3, 2))}}}, r"expected ema/0/w float32 \(3, 2\), came float32 \(2, 3\)"),
        ({"params": {"w": jnp.zeros((2, 3), jnp.bfloat16)}}, r"expected params/w bfloat16 \(2, 3\), came float32"),
    ]
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(4, state)
        for like, message in cases:
            with pytest.raises(ValueError, match=f"checkpoint of step 4 .* does not fit: {message}"):
                checkpoints.restore(4, like, partial=True)
            with pytest.raises(ValueError, match=message):
                checkpoints.restore_newest(like, partial=True)


def test_the_saved_state_may_be_donated_at_once(tmp_path):
    negate = jax.jit(lambda tree: jax.tree.map(lambda x: -x, tree), donate_argnums=0)
    state = {str(i): jnp.full((100_000,), float(i)) for i in range(20)}
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        jax.block_until_ready(negate(negate(negate(state))))
        restored = checkpoints.restore(1, {str(i): jax.ShapeDtypeStruct((100_000,), jnp.float32) for i in range(20)})
    assert all((np.asarray(restored[str(i)]) == i).all() for i in range(20))


KILLED = """
import os, pathlib, signal, sys
import jax.numpy as jnp, numpy as np
from diffax import arrays
from diffax.training import checkpoint
checkpoints = checkpoint.Checkpoints(sys.argv[1])
checkpoints.save(1, {"x": jnp.ones(3)})
checkpoints.wait()
checkpoints.save(2, {"x": jnp.asarray(np.random.default_rng(0).normal(size=8_000_000), jnp.float32)})
while not list(pathlib.Path(sys.argv[1]).glob("2*")):
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_save_cut_short_by_kill_is_ignored_and_cleared(tmp_path):
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True)
    assert process.returncode == -9, process.stderr
    leftover = [path.name for path in tmp_path.iterdir() if path.name != "1"]
    assert len(leftover) == 1 and leftover[0].startswith("2.") and "tmp" in leftover[0]
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [1]
        np.testing.assert_array_equal(checkpoints.restore(1, {"x": jnp.zeros(3)})["x"], np.ones(3))
        # Reading leaves a save alone that might be under way; saving another step removes it.
        assert (tmp_path / leftover[0]).exists()
        checkpoints.save(3, {"x": jnp.zeros(3)})
        assert checkpoints.steps() == [1, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3"]


FULL_DISK = """
import resource, sys, time
import jax.numpy as jnp, numpy as np
from diffax import arrays
from diffax.training import checkpoint
state = {"x": jnp.asarray(np.random.default_rng(0).normal(size=200_000), jnp.float32)}
checkpoints = checkpoint.Checkpoints(sys.argv[1], keep=1)
checkpoints.save(1, state)
checkpoints.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
checkpoints.save(2, state)
time.sleep(0.5)
try:
    checkpoints.wait()
except Exception as error:
    print(isinstance(error, OSError), str(error).endswith(": File too large"), "\\n" in str(error), checkpoints.steps())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(checkpoints.save(2, state), checkpoints.steps(), bool((checkpoints.restore(2, state)["x"] == state["x"]).all()))
checkpoints.wait()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the file size the POSIX way")
def test_a_failed_write_raises_and_loses_no_earlier_checkpoint(tmp_path):
    process = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True)
    assert process.stdout.splitlines() == ["True True False [1]", "True [2] True"], process.stderr
    assert "Traceback" not in process.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_what_does_not_fit_is_named_in_one_line(tmp_path):
    state = {"a": {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)}, "key": jax.random.key(0)}
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(4, state)
        cases = [
            (
                {**state, "a": {**state["a"], "w": jnp.zeros((2, 4))}},
                r"expected a/w float32 \(2, 4\), came float32 \(2, 3\)",
            ),
            (
                {**state, "a": {**state["a"], "b": jnp.zeros(3, jnp.bfloat16)}},
                r"a/b bfloat16 \(3,\), came float32 \(3,\)",
            ),
            ({**state, "ema": jnp.zeros(1)}, r"expected ema float32 \(1,\), came absent"),
            ({"a": state["a"]}, r"expected key absent, came uint32 \(2,\)"),
            ({**state, "key": jax.random.key(0, impl="rbg")}, r"expected key uint32 \(4,\), came uint32 \(2,\)"),
        ]
        for like, message in cases:
            with pytest.raises(ValueError, match=f"checkpoint of step 4 .* does not fit: .*{message}") as error:
                checkpoints.restore(4, like)
            assert "\n" not in str(error.value)
        with pytest.raises(ValueError, match=r"no checkpoint of step 5 in .*, which has \[4\]"):
            checkpoints.restore(5, state)
    with pytest.raises(ValueError, match="keep must be >= 1, got 0"):
        checkpoint.Checkpoints(tmp_path, keep=0)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))


def largest(directory):
    return max((path for path in directory.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


DAMAGE = {
    "a file cut short": lambda directory: os.truncate(largest(directory), 100),
    "a file emptied": lambda directory: os.truncate(directory / "state" / "_METADATA", 0),
    "a file gone": lambda directory: largest(directory).unlink(),
    "all arrays gone": lambda directory: shutil.rmtree(directory / "state"),
    "everything gone": lambda directory: [shutil.rmtree(directory), directory.mkdir()],
    "a bit flipped in an array": lambda directory: flip_a_byte(largest(directory)),
    "a bit flipped in the description": lambda directory: flip_a_byte(directory / "description.json"),
    "a bit flipped in the manifest": lambda directory: flip_a_byte(directory / "manifest.json"),
    "the manifest gone": lambda directory: (directory / "manifest.json").unlink(),
    "the manifest of something else": lambda directory: (directory / "manifest.json").write_text("[]"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A directory with whole checkpoints of steps 2 and 3."""
    directory = tmp_path_factory.mktemp("checkpoints")
    with jax.numpy_dtype_promotion("standard"), checkpoint.Checkpoints(directory) as checkpoints:
        for step in (2, 3):
            checkpoints.save(step, make_state(step))
    return directory


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(tmp_path, whole, kind):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    DAMAGE[kind](tmp_path / "3")
    with checkpoint.Checkpoints(tmp_path, keep=2) as checkpoints:
        with pytest.warns(UserWarning, match=rf"^checkpoint {tmp_path}/3 is damaged \(.*\); going back") as warned:
            step, restored = checkpoints.restore_newest(make_state())
        assert len(warned) == 1 and "\n" not in str(warned[0].message) and "of step 2" in str(warned[0].message)
        assert step == 2
        assert_same(restored, make_state(2))
        assert (tmp_path / "3").exists()
        # Reached again, it is replaced; until then it does not count.
        assert checkpoints.save(3, make_state(3)) and checkpoints.steps() == [2, 3]
    with checkpoint.Checkpoints(tmp_path, keep=2) as checkpoints:
        assert_same(checkpoints.restore_newest(make_state())[1], make_state(3))


def test_a_damaged_checkpoint_pushes_no_good_one_out_and_goes_when_passed(tmp_path):
    with checkpoint.Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(10, make_state())
    with checkpoint.Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(20, make_state())
    DAMAGE["a file gone"](tmp_path / "20")
    with checkpoint.Checkpoints(tmp_path, keep=1) as checkpoints:
        with pytest.warns(UserWarning, match="20 is damaged"):
            assert checkpoints.restore_newest(make_state())[0] == 10
        checkpoints.save(15, make_state(15))
        assert checkpoints.steps() == [15]
        checkpoints.save(25, make_state(25))
        assert checkpoints.steps() == [25]
    assert [path.name for path in tmp_path.iterdir()] == ["25"]


def test_when_all_are_damaged_one_error_says_so_and_nothing_is_deleted(tmp_path, whole):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    DAMAGE["a file cut short"](tmp_path / "2")
    DAMAGE["a file gone"](tmp_path / "3")
    before = sorted(tmp_path.rglob("*"))
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match=r"no checkpoint can be used: .*3 is damaged .*2 is damaged") as error:
            checkpoints.restore_newest(make_state())
        assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(ValueError, match=r"3 is damaged: .* is missing; use another step"):
        checkpoint.Checkpoints(tmp_path).restore(3, make_state())


def test_orbax_does_not_chatter(tmp_path):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("absl")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with checkpoint.Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(1, {"x": jnp.zeros(3)})
            checkpoints.restore(1, {"x": jnp.zeros(3)})
        logger.info("of the program itself")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert [record.getMessage() for record in records] == ["of the program itself"]
