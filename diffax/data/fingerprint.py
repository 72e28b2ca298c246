"""The fingerprint of a data set: what tells whether a run that is continued still has the data it began with."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from diffax.data.dataset import listed
from diffax.data.examples import Examples

_NUM_SAMPLED = 64


def fingerprint(examples: Examples) -> dict[str, Any]:
    """Count, shape and classes of a data set, and checksums, as values of JSON.

    `files` is a checksum of the names and sizes of its files, where it has files; `sample` one of at most 64 examples
    with their labels, evenly spaced.

    Raises:
      CorruptExample: an example of the sample cannot be decoded, and such are not skipped.
    """
    rows = np.linspace(0, len(examples) - 1, min(_NUM_SAMPLED, len(examples))).astype(int)
    batch, content = examples.batch(rows), hashlib.sha256()
    for key in sorted(batch):
        for leaf in jax.tree.leaves(batch[key]):
            content.update(np.ascontiguousarray(leaf).tobytes())
    # Values come from other files than examples, such as captions.jsonl.
    stored = getattr(examples, "stored", {})
    told = {"conditions": {name: column.digest for name, column in sorted(stored.items())}} if stored else {}
    return {
        "count": len(examples),
        "shape": list(examples.shape),
        "class_names": None if examples.class_names is None else list(examples.class_names),
        "files": examples.files_digest,
        "sample": content.hexdigest()[:16],
        **told,
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One phrase, `count: 60 -> 61`, for every entry of a fingerprint that differs."""
    changed = [key for key in after if key in before and before[key] != after[key]]
    return [f"{key}: {_shown(before[key])} -> {_shown(after[key])}" for key in changed]


def _shown(value: Any) -> str:
    return listed([str(entry) for entry in value]) if isinstance(value, list) else str(value)
