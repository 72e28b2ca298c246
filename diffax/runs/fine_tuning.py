"""Fine-tuning: the parameters of one run as the start of another, whose network may have a few more."""

import pathlib
import warnings
from operator import attrgetter
from typing import Any

import jax
import numpy as np

from diffax import data
from diffax.runs import opening
from diffax.runs.errors import UserError, for_people
from diffax.runs.model import Model
from diffax.runs.sample_sets import parameters_digest
from diffax.runs.trained import Trained


def initial_params(model: Model, source: str | pathlib.Path) -> Any:
    """Initial parameters of a model with those of a trained one in the place of all that have the same path and shape.

    Prints which parameters are new: they start as the network initializes them.

    Raises:
      UserError: a source without a checkpoint, parameters of other shapes, a source with parameters that the model
        does not have, or pairs (data.name = "pairs") of another model than the source.
    """
    start, teacher = model.init_params(jax.random.key(model.config.seed)), opening.open(source)
    _check_pairs(model, teacher, source)
    _warn_of_other_meaning(model, teacher, source)
    given, own = _by_path(teacher.params()), _by_path(start)
    missing = [path for path in given if path not in own]
    other = [
        f"{path}: {given[path].shape} -> {own[path].shape}"
        for path in own
        if path in given and given[path].shape != own[path].shape
    ]
    if missing or other:
        problem = f"has no {missing[0]}" if missing else f"has other shapes: {'; '.join(other[:3])}"
        raise UserError(f"--init_from {source}: this network {problem}; give it the same settings of config.model")
    new = [path for path in own if path not in given]
    kept = f"{len(given)} of {len(own)} parameter arrays"
    added = f"; new: {', '.join(new[:10])}{f' and {len(new) - 10} more' if len(new) > 10 else ''}" if new else ""
    print(f"--init_from {source}: {kept}{added}", flush=True)
    leaves = [np.asarray(given.get(path, leaf)) for path, leaf in own.items()]
    return jax.tree.unflatten(jax.tree.structure(start), leaves)


def _check_pairs(model: Model, teacher: Trained, source: str | pathlib.Path) -> None:
    """Raises UserError for pairs that were made with other parameters than those that training starts from."""
    if model.config.data.name != "pairs":
        return
    with for_people():
        made_by = data.pairs.describe(model.config.data.path)
    average = made_by["average"]
    if average not in teacher.averages or made_by["parameters"] != parameters_digest(teacher.params(average)):
        raise UserError(
            f"--init_from {source}: the pairs of data.path = {model.config.data.path!r} were made by another model "
            f"(step {made_by['step']}): make pairs of this one by --mode reflow, or start from the one that made them"
        )


def _warn_of_other_meaning(model: Model, teacher: Trained, source: str | pathlib.Path) -> None:
    """Warns where the same parameters would be told other numbers, or asked for others, than in their training."""
    for setting in ("model.time_input", "parameterization"):
        before, now = (attrgetter(setting)(config) for config in (teacher.config, model.config))
        if before != now:
            warnings.warn(
                f"--init_from {source}: it was trained with {setting} = {before.name!r}, and this run has "
                f"{now.name!r}: its parameters mean little here. Set config.{setting} alike, unless it is meant so",
                stacklevel=3,
            )


def _by_path(params: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
