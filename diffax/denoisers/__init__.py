"""Denoisers: functions (x_t, t) -> Prediction(x_0, eps), made from networks, exact answers or other denoisers.

Guidance, thresholding, inpainting and inverse problems are functions from denoisers to denoisers. Every denoiser here
is a pytree, so that jit can take it as an argument, and is compared by identity, so that jit can compile it itself.
"""

from diffax.denoisers import flow_maps, operators, time_inputs
from diffax.denoisers.classifier import classifier_guided
from diffax.denoisers.epsilon_scaling import epsilon_scaled
from diffax.denoisers.guidance import cfg_plus_plus, classifier_free, composed, embedded, guided_network, rescaled
from diffax.denoisers.inpainting import inpainted
from diffax.denoisers.inverse_problems import dps, pigdm
from diffax.denoisers.network import ApplyFn, TimeInput, from_network, raw_network, split_variance
from diffax.denoisers.oracles import GaussianMixture, empirical, gaussian_mixture
from diffax.denoisers.thresholding import thresholded

__all__ = [
    "ApplyFn",
    "GaussianMixture",
    "TimeInput",
    "cfg_plus_plus",
    "classifier_free",
    "classifier_guided",
    "composed",
    "dps",
    "embedded",
    "empirical",
    "epsilon_scaled",
    "flow_maps",
    "from_network",
    "gaussian_mixture",
    "guided_network",
    "inpainted",
    "operators",
    "pigdm",
    "raw_network",
    "rescaled",
    "split_variance",
    "thresholded",
    "time_inputs",
]
