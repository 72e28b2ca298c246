"""Edits and interpolations on disk: a picture, the results as an archive, and a record of what made them.

    DIR/record.json   settings, conditions and input
        picture.png   the first of them
        results.npz   images as bytes (uint8), or points

`runs.sample_set` and the data source `arrays` read results.npz.
"""

import hashlib
import json
import pathlib
import re
from typing import Any

import numpy as np

from diffax.reporting import images, plots
from diffax.runs import directory as run_directory
from diffax.runs import sample_sets
from diffax.runs.editing import Edit
from diffax.runs.trained import Trained

EDITS, INTERPOLATIONS = "edits", "interpolations"
PICTURE, RESULTS, RECORD = "picture.png", "results.npz", "record.json"
# Rows of a picture: more are too small to be judged by eye.
MAX_ROWS = 16


def directory(
    root: pathlib.Path, model: Trained, words: str, record: dict[str, Any], average: Any = None
) -> pathlib.Path:
    """A directory in root whose name says what made the results, and differs where anything does."""
    described_by = described(model, record, average)
    made_by = sample_sets.sampler_words(described_by["sampler"], described_by["average"])
    digest = hashlib.sha256(json.dumps(described_by, sort_keys=True).encode()).hexdigest()[:6]
    slug = re.sub(r"[^\w.]+", "-", words)[:60].strip("-")
    return root / f"{model.step:08d}_{slug}_{made_by}_{digest}"


def described(model: Trained, record: dict[str, Any], average: Any = None) -> dict[str, Any]:
    """The record with the settings of the sampler, as values of JSON."""
    sampler = json.loads(json.dumps(model.config.sampler.to_dict()))
    return {"step": model.step, "average": model.average_name(average), "sampler": sampler} | record


def write_edit(path: pathlib.Path, edit: Edit, labels: np.ndarray | None, *, is_image: bool) -> None:
    """Writes the picture, a row for each image (original, reconstruction, states on the way, result), and the archive.

    The archive has samples (the edited ones), labels (those of the edit, if any), original, reconstruction and latents.
    """
    if is_image:
        shown = np.concatenate([edit.original[None], edit.reconstruction[None], edit.states])[:, :MAX_ROWS]
        picture = images.picture(np.concatenate(np.swapaxes(shown, 0, 1)), num_columns=len(shown))
    else:
        picture = plots.scatter_picture(edit.edited, edit.original, titles=("edited", "original"))
    named = {"samples": edit.edited, "original": edit.original, "reconstruction": edit.reconstruction}
    results = {name: _stored(x, is_image) for name, x in named.items()} | {"latents": edit.latents}
    _write(path, picture, results | ({} if labels is None else {"labels": labels}))


def write_row(path: pathlib.Path, x: np.ndarray, *, is_image: bool) -> None:
    """Writes a picture of an interpolation, in one row, and its archive, samples."""
    picture = images.picture(x, num_columns=len(x)) if is_image else plots.scatter_picture(x)
    _write(path, picture, {"samples": _stored(x, is_image)})


def write_record(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Writes what made the results."""
    run_directory.write_json(path / RECORD, record)


def _write(path: pathlib.Path, picture: np.ndarray, results: dict[str, np.ndarray]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    images.save_png(path / PICTURE, picture)
    images.save_npz(path / RESULTS, **results)


def _stored(x: np.ndarray, is_image: bool) -> np.ndarray:
    return images.to_uint8(x) if is_image else x
