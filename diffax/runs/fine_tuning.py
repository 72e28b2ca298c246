"""Fine-tuning: the parameters of one run as the start of another, whose network may have a few more."""

import pathlib
from typing import Any

import jax
import numpy as np

from diffax.runs import trained
from diffax.runs.errors import UserError
from diffax.runs.model import Model


def initial_params(model: Model, source: str | pathlib.Path) -> Any:
    """Initial parameters of a model with those of a trained one in the place of all that have the same path and shape.

    Prints which parameters are new: they start as the network initializes them.

    Raises:
      UserError: a source without a checkpoint, parameters of other shapes, or a source with parameters that the model
        does not have.
    """
    start = jax.jit(model.init_params)(jax.random.key(model.config.seed))
    given, own = _by_path(trained.open(source).params()), _by_path(start)
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


def _by_path(params: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
