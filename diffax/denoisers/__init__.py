"""Denoisers: (x_t, t) -> Prediction(x_0, eps), from networks, from exact answers, from other denoisers."""

from diffax.denoisers import time_inputs
from diffax.denoisers.epsilon_scaling import epsilon_scaled
from diffax.denoisers.guidance import classifier_free, guided_network
from diffax.denoisers.network import from_network, raw_network
from diffax.denoisers.oracles import empirical, gaussian_mixture

__all__ = [
    "classifier_free",
    "empirical",
    "epsilon_scaled",
    "from_network",
    "gaussian_mixture",
    "guided_network",
    "raw_network",
    "time_inputs",
]
