"""Metrics by name: the functions of this package on one common input, the features of generated and of real examples.

A metric is a function (Comparison) -> {name: Estimate}; METRICS lists them. `measure` computes several and gives
each value its full name, which says features and number of samples: frechet/efficientnet_lite0@10000. Only the Frechet
distance of the 2015 Inception features of 50,000 samples is called FID.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from diffax.evaluation import (
    agreement,
    density_coverage,
    diversity,
    energy,
    frechet,
    inception_score,
    kernel,
    memorisation,
    precision_recall,
    sliced_wasserstein,
    uncertainty,
    wavelets,
)
from diffax.evaluation.features import Extractor, Features
from diffax.evaluation.measurement import TRAINED_ON, Measurement
from diffax.evaluation.moments import Moments
from diffax.evaluation.uncertainty import Estimate

_WAVELET_LEVELS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureSet:
    """Examples with their features.

    examples: raw, uint8 images (n, height, width, channels) or float points (n, *dims).
    labels: their classes, or those asked for, (n,); None for examples without classes.
    """

    examples: np.ndarray
    features: Features
    labels: np.ndarray | None = None

    @classmethod
    def of(cls, extractor: Extractor, examples: np.ndarray, labels: np.ndarray | None = None) -> "FeatureSet":
        """The features of examples.

        Raises:
          ValueError: examples that the extractor refuses.
        """
        return cls(examples, extractor(examples), labels)

    def __len__(self) -> int:
        return len(self.examples)

    def first(self, count: int) -> "FeatureSet":
        """The first `count` examples."""
        values, probabilities = self.features
        features = Features(values[:count], None if probabilities is None else probabilities[:count])
        return FeatureSet(self.examples[:count], features, None if self.labels is None else self.labels[:count])


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """What a metric compares.

    reference: the real examples that generated ones are compared with.
    other: real examples that are not in the reference, for what real data score themselves: held-out examples where the
      reference is training data, training examples where it is held out.
    reference_is_training: whether the reference, and not `other`, is what the model was trained on.
    seed: of random subsets, resamples and directions.
    num_resamples: of the bootstrap that gives the Frechet distance's standard error; 0 for none.
    """

    generated: FeatureSet
    reference: FeatureSet
    other: FeatureSet | None
    reference_is_training: bool
    seed: int = 0
    num_resamples: int = 10


Metric = Callable[[Comparison], Mapping[str, Estimate]]


def frechet_distance(comparison: Comparison) -> dict[str, Estimate]:
    """The Frechet distance, with a bootstrap standard error."""
    generated, reference = comparison.generated.features.values, Moments.of(comparison.reference.features.values)

    def distance(values: np.ndarray) -> float:
        return frechet.distance(Moments.of(values), reference)

    if not comparison.num_resamples:
        return {"frechet": _plain(distance(generated))}
    options = {"seed": comparison.seed, "num_resamples": comparison.num_resamples}
    return {"frechet": uncertainty.bootstrap(distance, generated, **options)}


def frechet_infinity(comparison: Comparison) -> dict[str, Estimate]:
    """The Frechet distance extrapolated to infinitely many samples."""
    reference = Moments.of(comparison.reference.features.values)
    return {
        "frechet_infinity": frechet.extrapolated(comparison.generated.features.values, reference, seed=comparison.seed)
    }


def frechet_ratio(comparison: Comparison) -> dict[str, Estimate]:
    """The Frechet distance relative to that of as many other real examples: 1 is as good as data.

    Raises:
      ValueError: fewer other real examples than samples.
    """
    generated, other = comparison.generated, _other("frechet_ratio", comparison)
    if len(other) < len(generated):
        raise ValueError(
            f"frechet_ratio of {len(generated)} samples needs as many real examples beside the reference, and "
            f"there are {len(other)}: take fewer samples"
        )
    rows = np.random.default_rng(comparison.seed).choice(len(other), len(generated), replace=False)
    sets = (generated.features.values, other.features.values[rows], comparison.reference.features.values)
    return {"frechet_ratio": _plain(frechet.ratio(*map(Moments.of, sets)))}


def kernel_distance(comparison: Comparison) -> dict[str, Estimate]:
    """The kernel distance (KID): 100 subsets of 1,000 samples, or of all where there are fewer."""
    generated, reference = comparison.generated.features.values, comparison.reference.features.values
    size = min(1000, len(generated), len(reference))
    return {"kernel": kernel.distance(generated, reference, seed=comparison.seed, subset_size=size)}


def precision_and_recall(comparison: Comparison) -> dict[str, Estimate]:
    """Improved precision and recall."""
    result = precision_recall.precision_recall(*_values(comparison))
    return {"precision": _plain(result.precision), "recall": _plain(result.recall)}


def density_and_coverage(comparison: Comparison) -> dict[str, Estimate]:
    """Density and coverage."""
    result = density_coverage.density_coverage(*_values(comparison))
    return {"density": _plain(result.density), "coverage": _plain(result.coverage)}


def sliced_wasserstein_distance(comparison: Comparison) -> dict[str, Estimate]:
    """The sliced Wasserstein distance."""
    value = sliced_wasserstein.distance(*_values(comparison), seed=comparison.seed)
    return {"sliced_wasserstein": _plain(value)}


def energy_distance(comparison: Comparison) -> dict[str, Estimate]:
    """The unbiased energy distance."""
    return {"energy": _plain(energy.distance(*_values(comparison)))}


def frechet_wavelet(comparison: Comparison) -> dict[str, Estimate]:
    """The Frechet wavelet distance, of the images themselves, with packets of level 3 or as many as the sides allow.

    Raises:
      ValueError: examples that are no images with even sides.
    """
    generated, reference = comparison.generated.examples, comparison.reference.examples
    if generated.dtype != np.uint8:
        raise ValueError("frechet_wavelet is for images, and the examples are points")
    sides = generated.shape[1:3]
    level = min(_WAVELET_LEVELS, *(math.gcd(side, 2**_WAVELET_LEVELS).bit_length() - 1 for side in sides))
    return {"frechet_wavelet": _plain(wavelets.distance_between(generated, reference, level=level))}


def memorised(comparison: Comparison) -> dict[str, Estimate]:
    """The share of samples that are near-copies of training examples, and that of held-out examples beside it."""
    other = _other("memorisation", comparison)
    training, held_out = (
        (comparison.reference, other) if comparison.reference_is_training else (other, comparison.reference)
    )
    values = (comparison.generated.features.values, training.features.values)
    result = memorisation.shares(*values, held_out=held_out.features.values)
    return {"memorisation": _plain(result.generated), "memorisation_of_held_out": _plain(result.held_out)}


def inception(comparison: Comparison) -> dict[str, Estimate]:
    """The Inception score, of the class probabilities of the extractor, over 10 splits."""
    return {
        "inception_score": inception_score.score(_probabilities("inception_score", comparison), seed=comparison.seed)
    }


def label_agreement(comparison: Comparison) -> dict[str, Estimate]:
    """How often the extractor, a classifier of the data, reads a sample as the class that was asked for."""
    labels = _labels("label_agreement", comparison.generated)
    return {"label_agreement": agreement.share(_probabilities("label_agreement", comparison), labels)}


def class_diversity(comparison: Comparison) -> dict[str, Estimate]:
    """Mean distance between samples of a class relative to real ones, over classes."""
    generated, reference = comparison.generated, comparison.reference
    labels = [_labels("diversity", one) for one in (generated, reference)]
    result = diversity.within_classes(*_values(comparison), generated_labels=labels[0], reference_labels=labels[1])
    return {"diversity": _plain(result.mean)}


METRICS: dict[str, Metric] = {
    "frechet": frechet_distance,
    "frechet_infinity": frechet_infinity,
    "frechet_ratio": frechet_ratio,
    "kernel": kernel_distance,
    "precision_recall": precision_and_recall,
    "density_coverage": density_and_coverage,
    "sliced_wasserstein": sliced_wasserstein_distance,
    "energy": energy_distance,
    "frechet_wavelet": frechet_wavelet,
    "memorisation": memorised,
    "inception_score": inception,
    "label_agreement": label_agreement,
    "diversity": class_diversity,
}
# Whether more is better; of all others less is.
HIGHER_IS_BETTER = (
    "precision",
    "recall",
    "density",
    "coverage",
    "inception_score",
    "label_agreement",
    "diversity",
)
# Those that look at the images themselves, whatever the features are.
_WITHOUT_FEATURES = ("frechet_wavelet",)
_WITH_OTHER = ("frechet_ratio", "memorisation")


def check_names(names: Iterable[str]) -> None:
    """Raises ValueError for a metric that does not exist, listing those that do."""
    for name in names:
        if name not in METRICS:
            raise ValueError(f"there is no metric {name!r}, but {', '.join(METRICS)}")


def needs_other(names: Iterable[str]) -> bool:
    """Whether a metric looks at real examples beside the reference, whose features may take minutes."""
    return any(name in _WITH_OTHER for name in names)


def measure(names: Iterable[str], comparison: Comparison, features: str) -> dict[str, Estimate]:
    """{full name: estimate} of metrics by their names; a standard error that is not known is NaN.

    Args:
      features: the name of the extractor.

    Raises:
      ValueError: a metric that does not exist or does not fit the data, or features that are not finite.
    """
    names = list(names)
    check_names(names)
    count, result = len(comparison.generated), dict[str, Estimate]()
    for name in names:
        values = METRICS[name](comparison)
        result |= {full_name(part, features, count): estimate for part, estimate in values.items()}
    return result


def full_name(metric: str, features: str, count: int) -> str:
    """frechet/efficientnet_lite0@10000, or FID where it is that."""
    if (metric, features, count) == ("frechet", "inception_2015", 50_000):
        return "FID"
    return f"{metric}@{count}" if metric in _WITHOUT_FEATURES else f"{metric}/{features}@{count}"


def higher_is_better(name: str) -> bool:
    """Whether more is better, by the full name of a metric."""
    return name.partition("/")[0].partition("@")[0] in HIGHER_IS_BETTER


def best(measurements: Sequence[Measurement]) -> int:
    """The index of the best of several values of one metric, among those that rank.

    Raises:
      ValueError: none of them ranks.
    """
    ranked = [index for index, one in enumerate(measurements) if one.ranks]
    if not ranked:
        raise ValueError(f"the values of {measurements[0].metric} rank no model: all were {TRAINED_ON}")
    sign = -1 if higher_is_better(measurements[0].metric) else 1
    return min(ranked, key=lambda index: sign * measurements[index].value)


def _values(comparison: Comparison) -> tuple[np.ndarray, np.ndarray]:
    return comparison.generated.features.values, comparison.reference.features.values


def _plain(value: float) -> Estimate:
    """A value whose standard error only repeats with other seeds can tell."""
    return Estimate(value, math.nan)


def _other(metric: str, comparison: Comparison) -> FeatureSet:
    if comparison.other is None:
        raise ValueError(f"{metric} needs training and held-out examples")
    return comparison.other


def _probabilities(metric: str, comparison: Comparison) -> np.ndarray:
    probabilities = comparison.generated.features.probabilities
    if probabilities is None:
        raise ValueError(f"{metric} needs features of a classifier, which gives class probabilities")
    return probabilities


def _labels(metric: str, examples: FeatureSet) -> np.ndarray:
    if examples.labels is None:
        raise ValueError(f"{metric} needs labels: a class-conditional model, and data with classes")
    return examples.labels
