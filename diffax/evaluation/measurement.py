"""Measurements: values of metrics with all that has to agree before two of them may be compared."""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from diffax.evaluation import uncertainty
from diffax.evaluation.uncertainty import Estimate

# The remark of a measurement of a model whose loss was computed in the same features: such a value does not rank it.
TRAINED_ON = "trained on these features"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One value of a metric.

    metric: its full name, with features and number of samples.
    standard_error: over sample sets of the seeds or, of one seed, as the metric estimates it; None where it cannot.
    seeds: of the sample sets.
    settings: what has to agree with those of another measurement: reference set, extractor, preprocessing, rounding,
      label policy.
    subject: what was measured: run, step, sampler, evaluations, guidance, average; and a `remark`, such as TRAINED_ON,
      where there is one.
    """

    metric: str
    value: float
    standard_error: float | None
    n: int
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    subject: Mapping[str, Any]

    @property
    def ranks(self) -> bool:
        """Whether the value ranks what was measured among others."""
        return self.subject.get("remark") != TRAINED_ON

    def to_json(self) -> dict[str, Any]:
        """The measurement as one flat record, with the subject's entries beside the others."""
        record = dataclasses.asdict(self)
        return {key: value for key, value in record.items() if key != "subject"} | dict(self.subject)


def check_comparable(measurements: Iterable[Measurement]) -> None:
    """Refuses measurements of one metric that differ in what has to agree.

    None is what is not known, as of samples of another codebase, or has no meaning: it differs from nothing.

    Raises:
      ValueError: naming the first difference.
    """
    known: dict[tuple[str, str], tuple[Any, Any]] = {}
    for one in measurements:
        for key, value in one.settings.items():
            if value is None:
                continue
            run = one.subject.get("run")
            before, of = known.setdefault((one.metric, key), (value, run))
            if before != value:
                raise ValueError(
                    f"two values of {one.metric} cannot be compared: their {key} differ, {before} and {value} (of "
                    f"{of} and {run})"
                )


def over_seeds(estimates: Mapping[int, Estimate]) -> tuple[float, float | None]:
    """The mean and standard error of a metric over seeds; of one seed, its own estimate.

    Raises:
      ValueError: no seed.
    """
    if not estimates:
        raise ValueError("a measurement needs at least one seed")
    if len(estimates) > 1:
        return uncertainty.of_repeats([estimate.value for estimate in estimates.values()])
    [only] = estimates.values()
    return only.value, None if math.isnan(only.standard_error) else only.standard_error


def digest(*arrays: np.ndarray | None) -> str:
    """A checksum of arrays, with their shapes and dtypes."""
    content = hashlib.sha256()
    for array in arrays:
        if array is not None:
            content.update(f"{array.dtype} {array.shape}".encode())
            content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()[:16]
