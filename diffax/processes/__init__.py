"""The forward process: Gaussian conditionals, parameterizations (prediction types), distributions of training times."""

from diffax.processes import (
    bounds,
    gaussian,
    importance_sampling,
    parameterizations,
    probability_flow,
    reverse_steps,
    time_sampling,
)
from diffax.processes._edm_gaussian import EdmGaussian, Moments, edm_gaussian, moments
from diffax.processes.gaussian import diffuse, marginal, posterior, prior_std, transition
from diffax.processes.parameterizations import X0, Edm, Eps, FlowVelocity, Parameterization, Score, V, refuse_singular

__all__ = [
    "X0",
    "Edm",
    "EdmGaussian",
    "Eps",
    "FlowVelocity",
    "Moments",
    "Parameterization",
    "Score",
    "V",
    "bounds",
    "diffuse",
    "edm_gaussian",
    "gaussian",
    "importance_sampling",
    "marginal",
    "moments",
    "parameterizations",
    "posterior",
    "prior_std",
    "probability_flow",
    "refuse_singular",
    "reverse_steps",
    "time_sampling",
    "transition",
]
