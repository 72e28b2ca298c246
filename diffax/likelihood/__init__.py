"""Likelihoods: log-densities by the probability-flow ODE, dequantization, and bits per dimension."""

from diffax.likelihood import dequantization, divergence, probability_flow
from diffax.likelihood.dequantization import Bins, Dequantized, bits_per_dim
from diffax.likelihood.probability_flow import LogDensity, log_density, log_likelihood

__all__ = [
    "Bins",
    "Dequantized",
    "LogDensity",
    "bits_per_dim",
    "dequantization",
    "divergence",
    "log_density",
    "log_likelihood",
    "probability_flow",
]
