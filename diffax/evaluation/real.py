"""Real examples to compare with: rows of a data set as bytes or points, their features, and extractors made for them.

Images of any number of levels become bytes by the rule that samples are rounded by (reporting.images.to_uint8).
"""

import functools
import inspect
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from diffax import devices
from diffax.data.examples import Examples
from diffax.evaluation.features import PASSED, Extractor, Features
from diffax.evaluation.measurement import digest
from diffax.evaluation.metrics import FeatureSet
from diffax.reporting import atomic, images

ExtractorFactory = Callable[..., Extractor]
_AT_ONCE = 1024


def rows_of(examples: Examples, count: int | None, seed: int = 0) -> np.ndarray:
    """`count` random rows without replacement, in order; all where there are no more or count is None."""
    if count is None or count >= len(examples):
        return np.arange(len(examples))
    return np.sort(np.random.default_rng(seed).choice(len(examples), count, replace=False))


def raw(examples: Examples, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(uint8 images of 256 levels or float32 points, labels or None) of rows of a data set."""
    parts = [examples.batch(rows[start : start + _AT_ONCE]) for start in range(0, len(rows), _AT_ONCE)]
    x = np.concatenate([part["x"] for part in parts])
    labels = np.concatenate([part["label"] for part in parts]) if "label" in parts[0] else None
    if examples.num_levels not in (None, 256) or (examples.num_levels == 256 and x.dtype != np.uint8):
        x = images.to_uint8(examples.to_network_range(x))
    return x, labels


def extractor(factory: ExtractorFactory, training: Examples, report: Any = None) -> Extractor:
    """The extractor that a factory makes; one that is trained on the data at hand gets the training examples.

    Raises:
      ValueError: training data that the extractor refuses, or that it needs labels of and that have none.
    """
    known = inspect.signature(factory).parameters
    if "images" not in known:
        return factory()
    x, labels = raw(training, np.arange(len(training)))
    if labels is None:
        raise ValueError(f"the features need classes, and {training.name} has no labels")
    passed = {"images": x, "labels": labels, "report": report}
    return factory(**{name: passed[name] for name in PASSED if name in known})


def features(chosen: Extractor, examples: Examples, count: int | None, seed: int = 0) -> FeatureSet:
    """The features of `count` random examples, computed once and then read from the user's cache directory.

    Raises:
      ValueError: examples that the extractor refuses.
    """
    x, labels = raw(examples, rows_of(examples, count, seed))
    if not chosen.checksum:  # as fast as reading a file
        return FeatureSet.of(chosen, x, labels)
    name = digest(x, np.frombuffer(f"{chosen.checksum} {chosen.preprocessing}".encode(), np.uint8))
    path = devices.cache_directory() / "features" / f"{chosen.name}-{name}.npz"
    cached = _cached(path, len(x))
    if cached is None:
        cached = chosen(x)
        _keep(path, cached)
    return FeatureSet(x, cached, labels)


def _cached(path: Any, count: int) -> Features | None:
    """Features that were kept; None if there are none or the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            found = Features(kept["values"], kept.get("probabilities"))
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    return found if len(found.values) == count else None


def _keep(path: Any, found: Features) -> None:
    arrays = {name: array for name, array in found._asdict().items() if array is not None}
    try:
        with atomic.replacing(path) as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError:  # a cache that cannot be written is no error
        return


@functools.lru_cache(maxsize=4)
def cached_extractor(factory: ExtractorFactory, training: Any) -> Extractor:
    """`extractor`, made once for a factory and a data set: evaluators ask for it again and again."""
    return extractor(factory, training)


@functools.lru_cache(maxsize=4)
def cached_features(factory: ExtractorFactory, training: Any, examples: Any, count: int) -> FeatureSet:
    """`features` by `cached_extractor`, kept in memory."""
    return features(cached_extractor(factory, training), examples, count)
