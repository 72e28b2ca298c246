"""The features in which a run's loss compares generated samples with data, with the moments of the data there."""

from typing import Any

from diffax import build, build_training, choices, losses
from diffax.data.examples import Examples
from diffax.evaluation import frechet, real
from diffax.evaluation.features import of_samples
from diffax.evaluation.moments import Moments
from diffax.runs.model import Model


def attached(model: Model, examples: Examples, report: Any = None) -> Model:
    """The model with the features of config.loss in its hyperparameters; itself where its loss compares in none.

    The moments of the data are those of all training examples, by the extractor that metrics use.

    Args:
      report: called with the progress of what has to be trained first, see evaluation.features.PASSED.

    Raises:
      ValueError: features that the data do not allow, or that are not differentiable.
    """
    factory = build.loss_features(model.config)
    if factory is None or model.hyperparameters.representation is not None:
        return model
    extractor = real.extractor(factory, examples, report)
    representation = losses.Representation(of_samples(extractor))
    chosen = choices.lookup("loss", model.config.loss.name, build_training.LOSS_SLOT)
    if losses.needs_moments(chosen):
        moments = Moments.of(real.features(extractor, examples, None).features.values)
        representation = losses.Representation(representation.features, moments.mean, frechet.root(moments.covariance))
    return model.with_representation(representation)
