"""Likelihoods of a denoiser's generative model, (batch,) in nats: variational bounds and log-densities by the ODE."""

from diffax.likelihood import continuous_bound, dequantization, divergence, probability_flow, variational_bound
from diffax.likelihood.dequantization import Bins, Dequantized, bits_per_dim
from diffax.likelihood.probability_flow import LogDensity, log_density, log_likelihood

__all__ = [
    "Bins",
    "Dequantized",
    "LogDensity",
    "bits_per_dim",
    "continuous_bound",
    "dequantization",
    "divergence",
    "log_density",
    "log_likelihood",
    "probability_flow",
    "variational_bound",
]
