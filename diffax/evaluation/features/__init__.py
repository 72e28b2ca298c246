"""Feature extractors for metrics: networks with published weights, raw values, and a classifier of the data set.

EXTRACTORS has the constructors by the names under which a configuration chooses them. Their parameters are options,
except for those that PASSED names, which the caller passes to the constructors that have them.
"""

from collections.abc import Callable, Mapping

from diffax.evaluation.features import classifier, dinov2, efficientnet_lite0, inception, pixels
from diffax.evaluation.features.extractor import Extractor, Features, SampleFeatures, of_samples

EXTRACTORS: Mapping[str, Callable[..., Extractor]] = {
    "pixels": pixels.pixels,
    "classifier": classifier.classifier,
    "efficientnet_lite0": efficientnet_lite0.efficientnet_lite0,
    "inception_2015": inception.inception_2015,
    "dinov2_vits14": dinov2.dinov2_vits14,
    "dinov2_vitb14": dinov2.dinov2_vitb14,
    "dinov2_vitl14": dinov2.dinov2_vitl14,
}
# Parameters that are no options: uint8 images (n, height, width, channels) of the training data and their labels (n,),
# and a callback for the progress of what has to be trained first.
PASSED = ("images", "labels", "report")

__all__ = ["EXTRACTORS", "PASSED", "Extractor", "Features", "SampleFeatures", "of_samples"]
