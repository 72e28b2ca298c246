"""Remarks on data for people: what was left out, changed or held out, the classes, and examples in both splits."""

import numpy as np

from diffax.data.dataset import Dataset, listed
from diffax.data.examples import Examples

_NUM_COMPARED, _MAX_BYTES = 256, 1e9


def on(train: Examples, held_out: Examples) -> list[str]:
    """One line each, without repetition, on the training and held-out examples of a run."""
    lines = list(dict.fromkeys([*train.notes, *held_out.notes]))
    for examples in (train, held_out):
        if examples.num_replaced:
            count = f"{examples.num_replaced} examples could not be read"
            lines.append(f"{examples.name}: {count}; the next good one stands in")
    if train.num_classes is not None:
        names = train.class_names or tuple(map(str, range(train.num_classes)))
        lines.append(f"classes: {listed(names)}")
    compared, shared = num_shared(train, held_out)
    if shared:
        lines.append(f"{shared:,} of {compared:,} held-out examples looked at are also among the training examples")
    return [line.replace("\n", "\\n") for line in lines]  # the name of a file may hold one


def num_shared(train: Examples, held_out: Examples) -> tuple[int, int]:
    """How many held-out examples, evenly spaced, were looked for among the training examples, and how many were found.

    None are looked for in data that are not in memory or are too large to compare in a few seconds.
    """
    train, held_out = (getattr(examples, "plain", examples) for examples in (train, held_out))  # without conditions
    if not isinstance(train, Dataset) or not isinstance(held_out, Dataset) or train.examples.nbytes > _MAX_BYTES:
        return 0, 0
    rows = np.unique(np.linspace(0, len(held_out) - 1, _NUM_COMPARED).astype(int))
    looked_for = [held_out.examples[row].tobytes() for row in rows]
    found = set(looked_for).intersection(example.tobytes() for example in train.examples)
    return len(rows), sum(example in found for example in looked_for)
