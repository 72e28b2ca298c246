"""The forward process: noise laws, Gaussian conditionals, parameterizations (prediction types), training times."""

from diffax.processes import (
    bounds,
    gaussian,
    importance_sampling,
    noise,
    parameterizations,
    probability_flow,
    reverse_steps,
    time_sampling,
)
from diffax.processes._edm_gaussian import EdmGaussian, Moments, edm_gaussian, moments
from diffax.processes.gaussian import diffuse, marginal, posterior, prior_std, transition
from diffax.processes.noise import NORMAL, Noise, NormalNoise, PoissonFlowNoise
from diffax.processes.parameterizations import X0, Edm, Eps, FlowVelocity, Parameterization, Score, V, refuse_singular

__all__ = [
    "NORMAL",
    "X0",
    "Edm",
    "EdmGaussian",
    "Eps",
    "FlowVelocity",
    "Moments",
    "Noise",
    "NormalNoise",
    "Parameterization",
    "PoissonFlowNoise",
    "Score",
    "V",
    "bounds",
    "diffuse",
    "edm_gaussian",
    "gaussian",
    "importance_sampling",
    "marginal",
    "moments",
    "noise",
    "parameterizations",
    "posterior",
    "prior_std",
    "probability_flow",
    "refuse_singular",
    "reverse_steps",
    "time_sampling",
    "transition",
]
