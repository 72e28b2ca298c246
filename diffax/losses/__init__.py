"""Training losses per sample, and loss weightings over noise levels."""

from diffax.losses import weighting
from diffax.losses._denoising import denoising
from diffax.losses._improved_mean_flow import improved_mean_flow
from diffax.losses._loss import Loss, Predict, Unconditional, conditions_of, draw_times
from diffax.losses._mean_flow import mean_flow
from diffax.losses._terminal_velocity import terminal_velocity
from diffax.losses._variational import decoder_levels, hybrid, variational_bound

__all__ = [
    "Loss",
    "Predict",
    "Unconditional",
    "conditions_of",
    "decoder_levels",
    "denoising",
    "draw_times",
    "hybrid",
    "improved_mean_flow",
    "mean_flow",
    "terminal_velocity",
    "variational_bound",
    "weighting",
]
