"""Gaussian processes of a schedule: conditionals, parameterizations of network outputs, densities of training time."""

from diffax.processes import gaussian, parameterizations, time_sampling
from diffax.processes.edm_gaussian import EdmGaussian, edm_gaussian
from diffax.processes.gaussian import diffuse, marginal, posterior, prior_std, transition
from diffax.processes.parameterizations import X0, Edm, Eps, FlowVelocity, Parameterization, Score, V, refuse_singular

__all__ = [
    "X0",
    "Edm",
    "EdmGaussian",
    "Eps",
    "FlowVelocity",
    "Parameterization",
    "Score",
    "V",
    "diffuse",
    "edm_gaussian",
    "gaussian",
    "marginal",
    "parameterizations",
    "posterior",
    "prior_std",
    "refuse_singular",
    "time_sampling",
    "transition",
]
