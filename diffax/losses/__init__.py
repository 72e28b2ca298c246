"""Training losses per sample, and loss weightings over noise levels."""

from diffax.losses import weighting
from diffax.losses._denoising import denoising
from diffax.losses._loss import Loss, Predict, conditions_of, draw_times
from diffax.losses._mean_flow import mean_flow
from diffax.losses._variational import decoder_levels, hybrid, variational_bound

__all__ = [
    "Loss",
    "Predict",
    "conditions_of",
    "decoder_levels",
    "denoising",
    "draw_times",
    "hybrid",
    "mean_flow",
    "variational_bound",
    "weighting",
]
