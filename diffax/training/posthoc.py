"""Post-hoc EMA (EDM2, arXiv:2312.02696, section 3.2): averages of any length after training, from a few stored ones.

An average is a weighted mean of all parameters so far, and the stored ones span the weights of others: those of
another length are fitted by least squares. The stored ones may be many: two lengths at every snapshot_every steps.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from diffax import sharding
from diffax.reporting import atomic
from diffax.training import ema


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One stored average of parameters: which of its file's, at which step, and its power."""

    path: pathlib.Path
    index: int
    step: int
    exponent: float


def save(
    directory: pathlib.Path,
    step: int,
    averages: Sequence[tuple[ema.Averaging, Any]],
    dtype: npt.DTypeLike = np.float32,
) -> None:
    """Writes the power-function averages at a step to directory/STEP.npz, whole or not at all.

    Of several processes all have to call it, and the first writes.

    Args:
      averages: rules and averaged parameters; those of other rules are left out.
      dtype: float16 halves the file; averages of 1e-3 relative accuracy are enough for samples (EDM2 stores those).
    """
    power = [(float(rule.exponent), _named(params)) for rule, params in averages if isinstance(rule, ema.Power)]
    arrays = {
        f"{i}/{name}": sharding.to_host(leaf).astype(dtype)
        for i, (_, tree) in enumerate(power)
        for name, leaf in tree.items()
    }
    if jax.process_index() != 0:
        return
    exponents = np.array([exponent for exponent, _ in power])
    with atomic.replacing(directory / f"{step:08d}.npz") as file:
        np.savez(file, allow_pickle=False, step=np.asarray(step), exponents=exponents, **arrays)


def find(directory: pathlib.Path) -> list[Snapshot]:
    """The snapshots in a directory that `save` wrote to, by step."""
    found = []
    for path in sorted(directory.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            step, exponents = int(file["step"]), file["exponents"].tolist()
        found += [Snapshot(path, index, step, exponent) for index, exponent in enumerate(exponents)]
    return found


def reconstruct(snapshots: Sequence[Snapshot], sigma_rel: float, step: int, like: Any) -> Any:
    """The average of relative length sigma_rel as of `step`, from the snapshots up to there, summed in float64.

    Args:
      like: parameters, for the structure and dtypes.

    Raises:
      ValueError: sigma_rel outside (0, 0.28], no snapshot up to the step, or snapshots of other parameters.
    """
    used = [snapshot for snapshot in snapshots if snapshot.step <= step]
    if not used:
        raise ValueError(f"no snapshot up to step {step}, only of {sorted({s.step for s in snapshots}) or 'no step'}")
    steps, exponents = (np.array([getattr(s, name) for s in used], float) for name in ("step", "exponent"))
    fitted = weights(steps, exponents, step, ema.exponent_of(sigma_rel))
    total = {name: np.zeros(leaf.shape) for name, leaf in _named(like).items()}
    for snapshot, weight in zip(used, fitted, strict=True):
        with np.load(snapshot.path, allow_pickle=False) as file:
            if missing := [name for name in total if f"{snapshot.index}/{name}" not in file]:
                raise ValueError(f"{snapshot.path} has no {missing[0]}: it is of another network or version of diffax")
            for name in total:
                total[name] += weight * file[f"{snapshot.index}/{name}"].astype(np.float64)
    leaves, structure = jax.tree.flatten(like)
    averaged = [value.astype(leaf.dtype) for value, leaf in zip(total.values(), leaves, strict=True)]
    return jax.tree.unflatten(structure, averaged)


def weights(
    steps: Float[np.ndarray, " n"], exponents: Float[np.ndarray, " n"], step: int, exponent: float
) -> Float[np.ndarray, " n"]:
    """The combination of stored averages closest to the one asked for: |sum_i x_i p_i - p|^2 is least over x.

    p_i(t) = (exponent + 1) t^exponent / step^(exponent + 1) up to step are their weights of the parameters at t.
    """
    among = _inner(steps[:, None], exponents[:, None], steps[None], exponents[None])
    with_target = _inner(steps, exponents, np.asarray(float(step)), np.asarray(exponent))
    return np.linalg.lstsq(among, with_target, rcond=None)[0]


def _inner(step_a: np.ndarray, exponent_a: np.ndarray, step_b: np.ndarray, exponent_b: np.ndarray) -> np.ndarray:
    """The integral of the product of two averages' weights over the steps of both (arXiv:2312.02696, appendix C)."""
    shorter = np.where(step_a < step_b, exponent_b, -exponent_a)
    product = (exponent_a + 1) * (exponent_b + 1) * (step_a / step_b) ** shorter
    return product / ((exponent_a + exponent_b + 1) * np.maximum(step_a, step_b))


def _named(tree: Any) -> dict[str, Any]:
    """'block/kernel' -> leaf, in the order of the tree's leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
