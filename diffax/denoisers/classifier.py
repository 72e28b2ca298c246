"""Classifier guidance (arXiv:2105.05233)."""

import dataclasses
from collections.abc import Callable

import jax
from jaxtyping import Float

from diffax import arrays
from diffax.denoisers import moved
from diffax.typing import Denoiser, Numeric, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]
LogProbability = Callable[[Sample, Numeric], Float[jax.Array, " batch"]]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _ClassifierGuided:
    """The denoiser, the schedule, the guidance scale and the classifier of classifier_guided."""

    denoiser: Denoiser
    schedule: Schedule
    scale: Numeric
    log_probability: LogProbability = dataclasses.field(metadata={"static": True})

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        gradient = jax.grad(lambda x: self.log_probability(x, t).sum())(x_t)
        gradient = arrays.expand_to(self.scale, x_t) * gradient
        return moved.by_score(self.denoiser(x_t, t), self.schedule, x_t, t, gradient)


def classifier_guided(
    denoiser: Denoiser, schedule: Schedule, log_probability: LogProbability, scale: Numeric = 1.0
) -> Denoiser:
    """Classifier guidance: adds scale times the gradient of log p(y | x_t) to the score.

    arXiv:2105.05233, algorithm 2. With scale 1 and an exact classifier of noisy x_t it is the exact denoiser given y.

    Args:
      log_probability: a function (x_t, t) to log p(y | x_t) of each sample, (batch,), for the target class y. It is
        differentiated in x_t.
      scale: the guidance scale.
    """
    return _ClassifierGuided(denoiser, schedule, scale, log_probability)
