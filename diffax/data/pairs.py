"""Pairs of noise and sample, made of a trained model by `--mode reflow`, as a dataset for reflow and distillation.

Each example x comes with the noise eps that the deterministic sampler started from, in units of the standard normal
distribution. Trained on them, a rectified flow learns the straight paths between the two ends of the curved ones
(arXiv:2209.03003, section 2.1), whatever noise schedule the pairs were made under: only x and eps are kept.
"""

import json
import pathlib
from typing import Any

import numpy as np

from diffax.data import dataset, listing, paths, shards
from diffax.data.array_columns import ArrayColumns
from diffax.data.columns import Columns
from diffax.data.examples import Examples

# Of the pairs of a run, in its directory.
FOLDER = "pairs"
_NOISE, _KNOWN = "noise", ("samples", "noise", "labels")


def load_pairs(split: str, *, path: str = "") -> dataset.Dataset:
    """Loads a split of a set of pairs: float32 examples in the network's range, their noise `eps`, and labels, if any.

    Further arrays of one row per pair are columns, as for `data.files.load_arrays`: the values of other conditions.
    Every 50th pair is held out.

    Args:
      split: train or test; or all.
      path: the directory that `--mode reflow` printed, or that of a run with one set of pairs.

    Raises:
      ValueError: no path, no such set, or a set of samples without their noise.
    """
    directory = _found(paths.required(path, "pairs"))
    description, parts = describe(directory), list(shards.read(directory))
    if not parts:
        raise ValueError(f"data.path = {path!r} has no pairs yet: the command that began it draws them")
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    names, labels = description["class_names"], arrays.get("labels")
    further = {name: array for name, array in arrays.items() if name not in _KNOWN}
    columns = ArrayColumns.of(directory.name, further, len(arrays["samples"]))
    whole = dataset.Dataset(
        name=directory.name,
        examples=arrays["samples"],
        eps=arrays[_NOISE],
        labels=labels,
        num_classes=None if labels is None else description["num_classes"],
        num_levels=description["num_levels"],
        class_names=None if labels is None or names is None else tuple(names),
        files_digest=listing.digest(directory.parent, [part for *_, part in shards.listed(directory)]),
        columns=Columns(directory.name, columns, len(arrays["samples"])),
    ).validate()
    return whole if split == "all" else dataset.split_of(whole, split)


def describe(path: str | pathlib.Path) -> dict[str, Any]:
    """What made a set of pairs: the content of its set.json.

    Raises:
      ValueError: no such set, or a set of samples without their noise.
    """
    try:
        description = json.loads((_found(pathlib.Path(path).expanduser()) / shards.DESCRIPTION).read_text())
    except (OSError, ValueError):
        description = None
    if not isinstance(description, dict):
        raise ValueError(f"data.path = {str(path)!r} is no set of pairs: make one of a trained run by --mode reflow")
    if _NOISE not in description:
        raise ValueError(
            f"data.path = {str(path)!r} holds samples without the noise that they came from: pairs are made by --mode "
            "reflow"
        )
    return description


def _found(path: pathlib.Path) -> pathlib.Path:
    """The directory of the set of pairs at a path, or of the only one of the run at that path."""
    sets = sorted(file.parent for file in (path / FOLDER).glob(f"*/{shards.DESCRIPTION}"))
    if len(sets) > 1:
        names = dataset.listed([one.name for one in sets])
        raise ValueError(f"data.path = {str(path)!r} has several sets of pairs, choose one in {path / FOLDER}: {names}")
    return sets[0] if sets else path


def have_noise(examples: Examples) -> bool:
    """Whether examples are pairs, which have their noise, with conditions or without."""
    return getattr(getattr(examples, "plain", examples), "eps", None) is not None
