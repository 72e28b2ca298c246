"""Checkpoints of a training run: whole or absent, written while training goes on. A thin layer over Orbax (v1 API)."""

import contextlib
import logging
import os
import pathlib
from typing import Any, TypeVar, final

import jax
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint import v1 as ocp

State = TypeVar("State")


@final
class Checkpoints:
    """The checkpoints of one directory, a sub-directory per step; the newest `keep` are kept.

    A state is any pytree of arrays: nested dicts, registered dataclasses, optax states, typed PRNG keys. A save cut
    short by a dying process leaves a temporary directory, which is never read and which the next run's first save
    removes. Only one process group may save to a directory at a time; any number may read it. Nothing is created
    before the first save.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 3):
        if keep < 1:
            raise ValueError(f"keep must be >= 1, got {keep}")
        self._directory = pathlib.Path(directory).absolute()
        self._keep = keep
        self._checkpointer: ocp.training.Checkpointer | None = None
        self._may_save = False
        self._save_under_way: ocp.AsyncResponse[bool] | None = None
        logging.getLogger("absl").addFilter(_without_orbax_chatter)

    def save(self, step: int, state: State, *, overwrite: bool = False) -> bool:
        """Starts saving `state` as the checkpoint of `step`; False if there is one already.

        Returns once the state is copied, so that its arrays may be donated or changed; the writing goes on in a thread.
        A save still under way is waited for, none is skipped. A failed one (a full disk) raises from the next call of
        any method; its step does not count as saved. With `overwrite` an existing checkpoint of the step is deleted
        first: for a step reached again after its checkpoint proved damaged.
        """
        if not overwrite and step in self.steps():
            return False
        self.wait()
        # Orbax's policies skip steps at or below the newest and while a save is under way; force does not.
        self._save_under_way = self._opened(to_save=True).save_async(step, state, force=True, overwrite=overwrite)
        return True

    def steps(self) -> list[int]:
        """The steps with a whole checkpoint, ascending, after waiting for a save under way."""
        self.wait()
        if self._checkpointer is None and not self._directory.is_dir():
            return []
        return [checkpoint.step for checkpoint in self._opened().checkpoints]

    def latest_step(self) -> int | None:
        """The newest step with a whole checkpoint, or None."""
        return max(self.steps(), default=None)

    def restore(self, step: int, like: State) -> State:
        """The state saved at `step`, bit for bit, with the structure and placement of `like`.

        like: a state, or jax.eval_shape of one. Arrays go where those of `like` are (to their `sharding`), or to the
        default device where it names no place; NumPy arrays come back as NumPy arrays.

        Raises:
            ValueError: there is no such step, or its arrays differ from `like` in name, shape or dtype (Orbax itself
                would convert the dtype in silence).
        """
        steps = self.steps()
        if step not in steps:
            raise ValueError(f"no checkpoint of step {step} in {self._directory}, which has {steps or 'none'}")
        saved = _describe(self._opened().metadata(step).metadata)
        differences = _differences(saved, _describe(like))
        if differences:
            shown = "; ".join(differences[:3]) + (f"; and {len(differences) - 3} more" if len(differences) > 3 else "")
            raise ValueError(
                f"checkpoint of step {step} in {self._directory} does not fit: {shown}; use the config that wrote it"
            )
        return self._opened().load(step, jax.tree.map(_placed, like))

    def wait(self) -> None:
        """Returns when no save is under way; raises what made the last one fail, once."""
        save, self._save_under_way = self._save_under_way, None
        if save is None:
            return
        try:
            # Asked of the save and not of the Checkpointer: this also ends the thread that Orbax starts for every save.
            save.result()
        except BaseException:
            # Orbax has forgotten the checkpoints that this save was to replace; opened again, it finds them on disk.
            with contextlib.suppress(Exception):
                self._release()
            raise

    def close(self) -> None:
        """Waits for a save under way and frees what Orbax holds; the object can be used again."""
        self.wait()
        self._release()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self, *, to_save: bool = False) -> ocp.training.Checkpointer:
        if self._checkpointer is None or (to_save and not self._may_save):
            self._release()
            self._checkpointer = ocp.training.Checkpointer(
                self._directory,
                preservation_policy=ocp.training.preservation_policies.LatestN(self._keep),
                # Left to the run that writes: a reader would remove a save that is under way elsewhere.
                cleanup_tmp_directories=to_save,
            )
            self._may_save = to_save
        return self._checkpointer

    def _release(self) -> None:
        checkpointer, self._checkpointer, self._may_save = self._checkpointer, None, False
        if checkpointer is not None:
            checkpointer.close()


def _without_orbax_chatter(record: logging.LogRecord) -> bool:
    """A filter for absl's logger: Orbax reports a dozen lines a save at level info."""
    return record.levelno > logging.INFO or f"{os.sep}orbax{os.sep}" not in record.pathname


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _describe(tree: Any) -> dict[str, str]:
    """'params/w' -> 'float32 (3, 4)' for every leaf; typed keys as the integers they are stored as."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): _describe_leaf(leaf) for path, leaf in leaves}


def _describe_leaf(leaf: Any) -> str:
    if not hasattr(leaf, "dtype"):
        return type(leaf).__name__
    stored = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    return f"{stored.dtype} {tuple(stored.shape)}"


def _differences(saved: dict[str, str], wanted: dict[str, str]) -> list[str]:
    names = list(dict.fromkeys([*wanted, *saved]))
    return [
        f"expected {name} {wanted.get(name, 'absent')}, came {saved.get(name, 'absent')}"
        for name in names
        if wanted.get(name) != saved.get(name)
    ]


def _placed(leaf: Any) -> Any:
    if not isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
        return leaf
    sharding = leaf.sharding if leaf.sharding is not None else SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
