"""Remarks on data for people: what was left out, changed or held out, and the classes."""

from diffax import data
from diffax.data.examples import Examples


def on(train: Examples, held_out: Examples) -> list[str]:
    """One line each, without repetition, on the training and held-out examples of a run."""
    lines = list(dict.fromkeys([*train.notes, *held_out.notes]))
    for examples in (train, held_out):
        if examples.num_replaced:
            lines.append(f"{examples.name}: {examples.num_replaced} examples could not be read; the next good one stands in")
    if train.num_classes is not None:
        names = train.class_names or tuple(map(str, range(train.num_classes)))
        lines.append(f"classes: {data.dataset.listed(names)}")
    return [line.replace("\n", "\\n") for line in lines]  # the name of a file may hold one
