"""Noise schedules: pairs (alpha, sigma) of functions of time, x_t = alpha(t) x_0 + sigma(t) eps, with their log-SNR."""

from diffax.schedules.cosine import Cosine
from diffax.schedules.discrete import Discrete
from diffax.schedules.flow import Flow
from diffax.schedules.learned import Learned
from diffax.schedules.limits import LOG_SNR_LIMIT
from diffax.schedules.linear_beta import LinearBeta
from diffax.schedules.shifted import Shifted
from diffax.schedules.sigmoid import Sigmoid
from diffax.schedules.sub_vp import SubVP
from diffax.schedules.variance_exploding import VarianceExploding

__all__ = [
    "LOG_SNR_LIMIT",
    "Cosine",
    "Discrete",
    "Flow",
    "Learned",
    "LinearBeta",
    "Shifted",
    "Sigmoid",
    "SubVP",
    "VarianceExploding",
]
