"""The points of a sweep: dictionaries of overrides, and the resolved configurations that they make of a base.

An override dictionary has the paths and values of --config.PATH=TEXT: {"schedule.name": "cosine", "seed": 1}. A value
may also be a choice, `settings.choice("min_snr", gamma=5.0)`. The key "name" labels a point and changes no setting.
"""

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from diffax import resolve

Overrides = dict[str, Any]
LABEL = "name"
_LONGEST_PREFIX = 60


def product(*axes: Mapping[str, Sequence[Any]] | Iterable[Mapping[str, Any]]) -> list[Overrides]:
    """Every combination of the points of several axes, the last axis fastest.

    Args:
      axes: {path: values}, where each path is an axis of its own; or points, as from `named`, `zipped` or `seeds`.

    Raises:
      ValueError: a setting that two axes change, or values that are no sequence.
    """
    listed = list(itertools.chain.from_iterable(map(_axes, axes)))
    return [_merged(parts) for parts in itertools.product(*listed)]


def zipped(columns: Mapping[str, Sequence[Any]]) -> list[Overrides]:
    """Points that take the k-th value of every column; columns: {path: values}.

    Raises:
      ValueError: columns of different lengths.
    """
    lengths = {path: len(_values(path, values)) for path, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"zipped columns must be as long as each other, got {lengths}")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def named(**points: Mapping[str, Any]) -> list[Overrides]:
    """Points with labels of their own: named(baseline={}, wide={"model.channels": 64})."""
    return [{LABEL: label, **overrides} for label, overrides in points.items()]


def seeds(chosen: int | Iterable[int]) -> list[Overrides]:
    """Points that differ in their seed: 0 .. chosen - 1, or the given seeds."""
    return [{"seed": seed} for seed in (range(chosen) if isinstance(chosen, int) else chosen)]


@dataclasses.dataclass(frozen=True, eq=False)
class Point:
    """One configuration of a sweep.

    name: of its directory, a readable prefix and the hash of the resolved configuration.
    overrides: (path, text), as of the command line.
    """

    name: str
    label: str | None
    overrides: tuple[tuple[str, str], ...]
    config: ConfigDict


def resolved(base: ConfigDict, points: Iterable[Any]) -> list[Point]:
    """The points of override dictionaries over an unresolved base; of equal configurations the first stays.

    Raises:
      ValueError: a point that is no dictionary, or one whose settings do not exist or have values of another type,
        naming the point.
    """
    if isinstance(points, Mapping | str) or not isinstance(points, Iterable):
        raise ValueError(f"get_points() must return an iterable of override dictionaries, got {type(points).__name__}")
    found: dict[str, Point] = {}
    for number, overrides in enumerate(points, start=1):
        if not isinstance(overrides, Mapping) or not all(isinstance(path, str) for path in overrides):
            raise ValueError(f"point {number} must be an override dictionary, got {overrides!r}")
        try:
            point = resolved_one(base, overrides)
        except ValueError as error:
            raise ValueError(f"point {number} ({_described(overrides)}): {error}") from error
        found.setdefault(digest(point.config), point)
    if not found:
        raise ValueError("get_points() gave no point")
    return list(found.values())


def resolved_one(base: ConfigDict, overrides: Mapping[str, Any]) -> Point:
    """The point of one override dictionary over an unresolved base.

    Raises:
      ValueError: settings that do not exist, or values of another type.
    """
    label = overrides.get(LABEL)
    pairs = tuple((path, _text(value)) for path, value in _flat(overrides).items() if path != LABEL)
    config = resolve.resolve(resolve.override(base, pairs))
    prefix = "-".join(
        [*([str(label)] if label else []), *(_short(*pair) for pair in pairs if not label or pair[0] == "seed")]
    )
    prefix = re.sub(r"[^\w.+-]+", "_", prefix)[:_LONGEST_PREFIX].strip("._-") or "base"
    return Point(f"{prefix}-{digest(config)}", None if label is None else str(label), pairs, config)


def digest(config: ConfigDict) -> str:
    """Ten hexadecimal digits of the SHA-256 of a resolved configuration."""
    return hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode()).hexdigest()[:10]


def differing(points: Sequence[Point]) -> list[str]:
    """The settings that the points change, in the order of their overrides, without those with one value for all."""
    paths = list(dict.fromkeys(path for point in points for path, _ in point.overrides))
    if len(points) == 1:
        return paths
    flat = [resolve.flat(point.config) for point in points]
    paths = list(dict.fromkeys(path if any(path in one for one in flat) else f"{path}.name" for path in paths))
    return [path for path in paths if len({repr(one.get(path)) for one in flat}) > 1]


def _axes(axis: Any) -> list[list[Overrides]]:
    if isinstance(axis, Mapping):
        return [[{path: value} for value in _values(path, values)] for path, values in axis.items()]
    return [[dict(point) for point in axis]]


def _values(path: str, values: Any) -> Sequence[Any]:
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise ValueError(f"{path} needs a sequence of values, got {values!r}")
    return list(values)


def _merged(parts: Iterable[Overrides]) -> Overrides:
    merged: Overrides = {}
    for part in parts:
        for path, value in part.items():
            if path == LABEL and path in merged:
                value = f"{merged[path]}-{value}"
            elif path in merged:
                raise ValueError(f"two axes of a product change {path}")
            merged[path] = value
    return merged


def _flat(overrides: Mapping[str, Any]) -> Overrides:
    """Choices written out: {"loss.weighting.name": "min_snr", "loss.weighting.gamma": 5.0}."""
    result: Overrides = {}
    for path, value in overrides.items():
        options = resolve.flat(value, f"{path}.") if isinstance(value, Mapping | ConfigDict) else {path: value}
        result |= dict(sorted(options.items(), key=lambda option: not option[0].endswith(".name")))
    return result


def _text(value: Any) -> str:
    """A value as the command line writes it."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str) else repr(value)


def _short(path: str, text: str) -> str:
    """A readable piece of a directory's name: the value, after the setting where the value alone would not tell."""
    key = path.rpartition(".")[2]
    return text if key == "name" or not re.match(r"[\d.+-]|True|False|None|\(", text) else f"{key}{text}"


def _described(overrides: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}={_text(value)}" for path, value in overrides.items())
