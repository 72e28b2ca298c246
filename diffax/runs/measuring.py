"""Measuring sample sets: metrics against real examples, kept beside the set so that nothing is measured twice."""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from diffax import build
from diffax.data.examples import Examples
from diffax.evaluation import metrics, real
from diffax.evaluation.features import Extractor
from diffax.evaluation.measurement import TRAINED_ON, digest
from diffax.evaluation.metrics import Comparison, FeatureSet
from diffax.evaluation.uncertainty import Estimate
from diffax.runs.errors import UserError, for_people
from diffax.runs.sample_sets import SampleSet

FILENAME = "measurements.jsonl"


@dataclasses.dataclass(frozen=True, eq=False)
class Protocol:
    """How samples are measured: metrics, features and the real examples that they are compared with.

    training, held_out: the data. reference: "train" or "held_out". features_name: of the choice of the extractor.
    """

    names: tuple[str, ...]
    extractor: Extractor
    training: Examples
    held_out: Examples
    reference: str
    reference_size: int
    num_samples: int
    features_name: str = ""

    @classmethod
    def of(cls, config: ConfigDict, training: Examples, held_out: Examples, report: Any = None) -> "Protocol":
        """The protocol of config.evaluation.

        Raises:
          UserError: metrics, features or numbers that do not exist or do not fit the data.
        """
        options = config.evaluation
        with for_people():
            metrics.check_names(options.metrics)
            if options.reference not in ("train", "held_out"):
                raise ValueError(f"evaluation.reference must be train or held_out, got {options.reference!r}")
            for name in ("num_samples", "reference_size"):
                if options[name] < 2:
                    raise ValueError(f"evaluation.{name} must be >= 2, got {options[name]}")
            extractor = real.extractor(build.features(config), training, report)
        sizes = {"reference_size": options.reference_size, "num_samples": options.num_samples}
        named = {"features_name": options.features.name}
        return cls(tuple(options.metrics), extractor, training, held_out, options.reference, **sizes, **named)

    def remark(self, trained_on: tuple[str, ...]) -> dict[str, str]:
        """The entry `remark` of measurements of a model whose loss was computed in these features; {} for others."""
        return {"remark": TRAINED_ON} if self.features_name in trained_on else {}

    @property
    def reference_examples(self) -> Examples:
        """The split that samples are compared with, and whose conditions they are drawn under."""
        return self.training if self.reference == "train" else self.held_out

    @functools.cached_property
    def compared(self) -> FeatureSet:
        """The reference."""
        with for_people():
            return real.features(self.extractor, self.reference_examples, self.reference_size)

    @functools.cached_property
    def other(self) -> FeatureSet | None:
        """Real examples that are not in the reference, where a metric needs them."""
        if not metrics.needs_other(self.names):
            return None
        examples = self.held_out if self.reference == "train" else self.training
        with for_people():
            return real.features(self.extractor, examples, max(self.reference_size, self.num_samples))

    def settings(self, drawn: SampleSet) -> dict[str, Any]:
        """What has to agree before two measurements may be compared."""
        return {
            "reference": f"{self.reference_examples.name}, {len(self.compared):,} of the {self.reference} examples",
            "reference_digest": self._reference_digest,
            "features": self.extractor.name,
            "preprocessing": self.extractor.preprocessing,
            "weights": self.extractor.checksum,
            "rounding": drawn.description.get("rounding"),
            "labels": drawn.description.get("labels"),
            "conditions": drawn.description.get("conditions", {}).get("of"),
        }

    @functools.cached_property
    def _reference_digest(self) -> str:
        return digest(self.compared.examples, self.compared.labels)

    def measure(self, drawn: SampleSet, directory: pathlib.Path | None, seed: int = 0) -> dict[str, Estimate]:
        """{full name: estimate} of the first num_samples samples of a set.

        Values that are kept in `directory`, that of the set, are not computed again; new ones are added there.

        Raises:
          UserError: too few samples, samples of another shape than the data, or features that are not finite.
        """
        if len(drawn) < self.num_samples:
            raise UserError(f"{drawn.name} has {len(drawn)} samples, and {self.num_samples} are to be measured")
        with for_people():
            kept = {} if directory is None else _kept(directory / FILENAME)
            keys = {name: self._key(name, drawn, seed) for name in self.names}
            missing, result = [name for name in self.names if keys[name] not in kept], dict[str, Estimate]()
            comparison = self._comparison(drawn, seed) if missing else None
            for name in self.names:
                if comparison is not None and name in missing:
                    values = metrics.measure([name], comparison, self.extractor.name)
                    if directory is not None:
                        _keep(directory / FILENAME, keys[name], values)
                else:
                    values = kept[keys[name]]
                result |= values
        return result

    def _comparison(self, drawn: SampleSet, seed: int) -> Comparison:
        batches = list(drawn.batches(1024, self.num_samples))
        examples = np.concatenate([batch["x"] for batch in batches])
        labels = np.concatenate([batch["label"] for batch in batches]) if "label" in batches[0] else None
        if examples.shape[1:] != self.compared.examples.shape[1:]:
            raise ValueError(
                f"{drawn.name} has samples of shape {examples.shape[1:]}, and the real examples "
                f"{self.compared.examples.shape[1:]}"
            )
        generated = FeatureSet.of(self.extractor, examples, labels)
        return Comparison(generated, self.compared, self.other, self.reference == "train", seed)

    def _key(self, name: str, drawn: SampleSet, seed: int) -> str:
        """Of all that a value depends on, beside the set that it lies in."""
        what = {"metric": name, "n": self.num_samples, "seed": seed, "format": 1} | self.settings(drawn)
        if metrics.needs_other([name]) and self.other is not None:
            what["other"] = digest(self.other.examples)
        return digest(np.frombuffer(json.dumps(what, sort_keys=True).encode(), np.uint8))


def _kept(path: pathlib.Path) -> dict[str, dict[str, Estimate]]:
    """Measurements by their keys; a line that a crash cut in half is left out."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
            found[record["key"]] = {name: _estimate(*pair) for name, pair in record["values"].items()}
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _estimate(value: float, error: float | None) -> Estimate:
    return Estimate(value, math.nan if error is None else error)


def _keep(path: pathlib.Path, key: str, values: Mapping[str, Estimate]) -> None:
    pairs = {
        name: [one.value, None if math.isnan(one.standard_error) else one.standard_error]
        for name, one in values.items()
    }
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({"key": key, "values": pairs}) + "\n")
