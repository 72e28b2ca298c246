"""Checkpoints of a training run: whole or absent, written while training goes on. A thin layer over Orbax (v1 API).

    checkpoints/STEP/state/             the arrays, as Orbax writes them
                     description.json   the metric measured at this step, if any, and what else the run says of itself
                     manifest.json      size and checksum of every other file
    checkpoints/STEP.partial...         a save under way, or what is left of one
    checkpoints/STEP.deleted            a checkpoint being deleted

A directory gets its name STEP when all is written, by a rename: whenever the process dies, what has that name is whole.
What happens to the files later (a disk that fails, somebody's editor) is noticed by the manifest.
"""

import concurrent.futures
import json
import logging
import math
import os
import pathlib
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, final

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint import v1 as ocp

from diffax.training import manifest, structure

State = TypeVar("State")
_PARTIAL, _DELETED, _DESCRIPTION = "partial", "deleted", "description.json"


@final
class Checkpoints:
    """The checkpoints of one directory: the newest `keep`, and the one of the best metric.

    A state is any pytree of arrays: nested dicts, registered dataclasses, optax states, typed PRNG keys. Only one run
    may save to a directory at a time, with all its processes making the same calls; any number may read it. Nothing is
    created before the first save, which also removes what dying processes left.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 3, *, highest_is_best: bool = False):
        if keep < 1:
            raise ValueError(f"keep must be >= 1, got {keep}")
        self._sign = -1 if highest_is_best else 1
        self._directory = pathlib.Path(directory).absolute()
        self._keep = keep
        self._damaged: set[int] = set()
        self._has_saved = False
        self._committer = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._save_under_way: concurrent.futures.Future[None] | None = None
        logging.getLogger("absl").addFilter(_without_orbax_chatter)

    def save(
        self, step: int, state: State, *, metric: float | None = None, description: Mapping[str, Any] | None = None
    ) -> bool:
        """Starts saving `state` as the checkpoint of `step`; False if there is one already.

        Returns once the state is copied, so that its arrays may be donated or changed; the writing goes on in a thread.
        A save still under way is waited for, none is skipped. A damaged checkpoint of that step is replaced.

        Args:
            metric: measured at this step: the checkpoint of the lowest (or highest) metric is kept.
            description: of JSON's types; the method `description` returns it.

        Raises:
            OSError: the save before failed (a full disk); its step does not count as saved, those before are intact.
                Any other method may raise this as well.
        """
        if step in self.steps():
            return False
        if not self._has_saved and jax.process_index() == 0:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
        self._has_saved = True
        partial = self._directory / f"{step}.{_PARTIAL}"
        try:
            with _uncompressed():
                writing = ocp.save_async(partial, state)
        except Exception as error:
            raise self._failed(step, error) from error
        record = {"metric": _known(metric), **(description or {})}
        self._save_under_way = self._committer.submit(self._commit, step, writing.result, record)
        return True

    def amend(self, step: int, *, metric: float | None, description: Mapping[str, Any]) -> None:
        """Adds to the checkpoint of `step` what came after it was saved: a metric, and entries of its description.

        Atomic: whenever the process dies, the checkpoint is whole and has the old description or the new one.
        """
        self.wait()
        if jax.process_index() == 0:
            before = self.description(step)
            after = before | {"metric": _known(metric)} | dict(description)
            if after != before:
                manifest.replace(self._path(step), _DESCRIPTION, _as_json(after))
            self._delete_all_but_kept()
        self._meet()

    def steps(self) -> list[int]:
        """The steps with a checkpoint, but for those found damaged; ascending, after waiting for a save under way."""
        self.wait()
        return self._listed()

    def best(self) -> tuple[int, float] | None:
        """(step, metric) of the checkpoint of the best metric, or None."""
        self.wait()
        return self._best()

    def description(self, step: int) -> dict[str, Any]:
        """The description that `save` was given for the checkpoint of `step`, and its metric."""
        return json.loads((self._path(step) / _DESCRIPTION).read_text())

    def restore(self, step: int, like: State, *, partial: bool = False) -> State:
        """The state saved at `step`, bit for bit, with the structure and placement of `like`.

        Args:
            like: a state, or jax.eval_shape of one. Arrays go where those of `like` are (to their `sharding`), or to
                the default device where it names no place; NumPy arrays come back as NumPy arrays.
            partial: `like` is a part of the state, a dictionary with some of its entries; only its arrays are read.

        Raises:
            ValueError: there is no such step, its files are not what was written, or its arrays differ from `like` in
                name, shape or dtype (Orbax itself would convert the dtype in silence).
        """
        steps = self.steps()
        if step not in steps:
            raise ValueError(f"no checkpoint of step {step} in {self._directory}, which has {steps or 'none'}")
        if problem := manifest.damage(self._path(step)):
            raise ValueError(f"checkpoint {self._path(step)} is damaged: {problem}; use another step")
        return self._load(step, like, partial)

    def restore_newest(self, like: State, *, partial: bool = False) -> tuple[int, State] | None:
        """(step, state) of the newest checkpoint, as by `restore`; None if there is none at all.

        A damaged one is named by a warning, and the one before is used. It stays until its step is reached again.

        Args:
            partial: `like` is a part of the state, a dictionary with some of its entries; only its arrays are read.

        Raises:
            ValueError: all are damaged, or the newest whole one does not fit `like`.
        """
        problems = {}
        for step in reversed(self.steps()):
            problem = manifest.damage(self._path(step))
            if problem is None:
                break
            problems[step] = f"{self._path(step)} is damaged ({problem})"
        else:
            step = -1
        # One process decides, should disks not show the same to all.
        step = _of_process_0(step)
        self._damaged.update(problems)
        if step < 0 and not problems:
            return None
        if step < 0:
            raise ValueError(
                f"no checkpoint can be used: {'; '.join(problems.values())}; "
                "put a copy of one in its place, or start anew in another directory"
            )
        for problem in problems.values() if jax.process_index() == 0 else ():
            warnings.warn(f"checkpoint {problem}; going back to that of step {step}", stacklevel=2)
        return step, self._load(step, like, partial)

    def is_better(self, metric: float) -> bool:
        """Whether a metric is better than that of every checkpoint."""
        best = self.best()
        if not math.isfinite(metric):
            return False
        return best is None or self._sign * metric < self._sign * best[1]

    def wait(self) -> None:
        """Returns when no save is under way; raises OSError if the last one failed, once."""
        save, self._save_under_way = self._save_under_way, None
        if save is None:
            return
        try:
            save.result()
        finally:
            self._meet()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait()
        finally:
            self._committer.shutdown()

    def _meet(self) -> None:
        """Waits for the process that renames and writes, after which all see the same directory."""
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"checkpoint in {self._directory}")

    def _path(self, step: int) -> pathlib.Path:
        return self._directory / str(step)

    def _listed(self) -> list[int]:
        if not self._directory.is_dir():
            return []
        steps = [int(path.name) for path in self._directory.iterdir() if path.name.isdecimal()]
        return sorted(set(steps) - self._damaged)

    def _best(self) -> tuple[int, float] | None:
        metrics = {}
        for step in self._listed():
            try:
                metrics[step] = self.description(step)["metric"]
            except (OSError, ValueError, KeyError):
                continue  # damaged; whoever restores it is told
        known = [(self._sign * metric, step) for step, metric in metrics.items() if metric is not None]
        return None if not known else (min(known)[1], self._sign * min(known)[0])

    def _load(self, step: int, like: State, partial: bool = False) -> State:
        saved, expected = structure.describe(ocp.metadata(self._path(step)).metadata), structure.describe(like)
        if partial:
            saved = {name: array for name, array in saved.items() if name in expected}
        differences = structure.differences(saved, expected)
        if differences:
            shown = "; ".join(differences[:3]) + (f"; and {len(differences) - 3} more" if len(differences) > 3 else "")
            raise ValueError(
                f"checkpoint of step {step} in {self._directory} does not fit: {shown}; use the config "
                "(and the version of diffax) that wrote it"
            )
        context = ocp.Context()
        context.pytree.loading.partial_load = partial
        with context:
            return ocp.load(self._path(step), jax.tree.map(_placed, like))

    def _commit(self, step: int, written: Callable[[], Any], description: dict[str, Any]) -> None:
        """In a thread: waits until Orbax has written, and gives the checkpoint its name."""
        partial = self._directory / f"{step}.{_PARTIAL}"
        try:
            written()
            if jax.process_index() != 0:
                self._damaged.discard(step)
                return
            (partial / _DESCRIPTION).write_bytes(_as_json(description))
            manifest.write(partial)
            if self._path(step).exists():
                self._delete(step)
            partial.rename(self._path(step))
        except Exception as error:
            raise self._failed(step, error) from error
        self._damaged.discard(step)
        self._delete_all_but_kept()

    def _delete_all_but_kept(self) -> None:
        """Leaves the newest checkpoints, the best, and those found damaged whose step has not been reached again."""
        newest, best = self._listed()[-self._keep :], self._best()
        kept = {*newest, *(best or ())[:1]}
        for old in [*self._listed(), *(damaged for damaged in self._damaged if damaged < newest[-1])]:
            if old not in kept:
                self._delete(old)

    def _failed(self, step: int, error: Exception) -> OSError:
        """The error to raise, when what was written has made room again."""
        if jax.process_index() == 0:
            self._remove_leftovers()
        message = " ".join(str(error).split()) or type(error).__name__
        # TensorStore names its file, at length, and then the system's error.
        by_system = re.search(r"([^:]+) \[os_error_code=", message)
        reason = by_system[1].strip() if by_system else message
        return OSError(f"the checkpoint of step {step} could not be written to {self._directory}: {reason}")

    def _delete(self, step: int) -> None:
        """Renamed first: what has a checkpoint's name is whole."""
        path = self._directory / f"{step}.{_DELETED}"
        if self._path(step).exists():
            self._path(step).rename(path)
        shutil.rmtree(path, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        for kind in (_PARTIAL, _DELETED):
            for path in self._directory.glob(f"*.{kind}*"):
                shutil.rmtree(path, ignore_errors=True)


def _uncompressed() -> ocp.Context:
    """Orbax would compress: a third more processor time to make noise-like numbers a tenth smaller."""
    context = ocp.Context()
    context.array.saving.use_compression = False
    return context


def _known(metric: float | None) -> float | None:
    """The metric, or None for one that is not finite."""
    return None if metric is None or not math.isfinite(metric) else float(metric)


def _as_json(description: Mapping[str, Any]) -> bytes:
    return (json.dumps(description, indent=1) + "\n").encode()


def _of_process_0(step: int) -> int:
    return step if jax.process_count() == 1 else int(multihost_utils.broadcast_one_to_all(np.int32(step)))


def _without_orbax_chatter(record: logging.LogRecord) -> bool:
    """A filter for absl's logger: Orbax reports a dozen lines a save at level info, and what it raises as well."""
    is_chatter = record.levelno <= logging.INFO or record.exc_info is not None
    return not (is_chatter and f"{os.sep}orbax{os.sep}" in record.pathname)


def _placed(leaf: Any) -> Any:
    if not isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
        return leaf
    sharding = leaf.sharding if leaf.sharding is not None else SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
