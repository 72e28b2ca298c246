"""Checkpoints whose files were damaged at random: restored bit for bit, or refused in one line."""

import os
import pathlib
import shutil
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from diffax.training.checkpoint import Checkpoints

MUTATIONS = int(os.environ.get("DIFFAX_MUTATIONS", "100"))


def mutate(path: pathlib.Path, rng: np.random.Generator) -> None:
    """One of: a byte flipped, the end cut off, bytes appended, emptied, filled with noise, removed, renamed."""
    content = bytearray(path.read_bytes())
    match rng.integers(7):
        case 0 if content:
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
            path.write_bytes(content)
        case 1:
            path.write_bytes(content[: rng.integers(len(content) + 1)])
        case 2:
            path.write_bytes(content + rng.bytes(rng.integers(1, 100)))
        case 3:
            path.write_bytes(b"")
        case 4:
            path.write_bytes(rng.bytes(len(content)))
        case 5:
            path.unlink()
        case _:
            path.rename(path.with_name(f"{path.name}.other"))


def test_damaged_checkpoints_are_refused_in_one_line_or_restored_bit_for_bit(tmp_path):
    state = {"params": {"w": jnp.arange(300.0), "b": jnp.ones(3)}, "ema": {"0": jnp.arange(5.0)}, "step": jnp.int32(1)}
    with Checkpoints(tmp_path / "whole") as checkpoints:
        checkpoints.save(1, state, metric=0.5, description={"config": {"seed": 0}})
        checkpoints.save(2, state | {"step": jnp.int32(2)}, metric=0.4)
    rng, refused, restored = np.random.default_rng(0), 0, 0
    for _ in range(MUTATIONS):
        folder = tmp_path / "damaged"
        shutil.copytree(tmp_path / "whole", folder)
        files = sorted(path for path in (folder / "2").rglob("*") if path.is_file())
        mutate(files[rng.integers(len(files))], rng)
        part = {"ema": {"0": state["ema"]["0"]}} if rng.integers(2) else state
        with Checkpoints(folder) as checkpoints:
            try:
                found = checkpoints.restore(2, part, partial=part is not state)
                expected = part | ({"step": jnp.int32(2)} if part is state else {})
                assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), found, expected))
                restored += 1
            except ValueError as error:
                assert "\n" not in str(error) and "checkpoint" in str(error)
                refused += 1
        # A run goes back to the checkpoint before, and says so.
        with Checkpoints(folder) as checkpoints, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step, _ = checkpoints.restore_newest(state)
            assert step == 2 or (step == 1 and any("2 is damaged" in str(warning.message) for warning in caught))
        shutil.rmtree(folder)
    assert refused > 0.8 * MUTATIONS and restored + refused == MUTATIONS
