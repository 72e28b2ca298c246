"""Classifier guidance: up the gradient of what a classifier of noisy samples says."""

import dataclasses
from collections.abc import Callable

import jax
from jaxtyping import Float

from diffax import arrays
from diffax.denoisers import moved
from diffax.typing import Denoiser, Node, Numeric, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]
LogProbability = Callable[[Sample, Numeric], Float[jax.Array, " batch"]]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class ClassifierGuided:
    """See classifier_guided."""

    denoiser: Node[Denoiser]
    schedule: Node[Schedule]
    scale: Node[Numeric]
    log_probability: LogProbability = dataclasses.field(metadata={"static": True})

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        gradient = jax.grad(lambda x: self.log_probability(x, t).sum())(x_t)
        gradient = arrays.expand_to(self.scale, x_t) * gradient
        return moved.by_score(self.denoiser(x_t, t), self.schedule, x_t, t, gradient)


def classifier_guided(
    denoiser: Denoiser, schedule: Schedule, log_probability: LogProbability, scale: Numeric = 1.0
) -> ClassifierGuided:
    """The score plus scale times the gradient of log p(y | x_t) (arXiv:2105.05233, algorithm 2).

    log_probability(x_t, t) gives log p(y | x_t) of each sample, (batch,), for the y that is wanted, and is
    differentiated in x_t. With scale 1 and an exact classifier this is the exact denoiser given y.
    """
    return ClassifierGuided(denoiser, schedule, scale, log_probability)
