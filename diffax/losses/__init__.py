"""Training losses per sample, and loss weightings over noise levels."""

from diffax.losses import weighting
from diffax.losses._alpha_flow import alpha_flow
from diffax.losses._consistency import consistency
from diffax.losses._continuous_consistency import continuous_consistency
from diffax.losses._denoising import denoising
from diffax.losses._loss import Loss, Predict, conditions_of, draw_times
from diffax.losses._mean_flow import mean_flow
from diffax.losses._shortcut import shortcut
from diffax.losses._variational import decoder_levels, hybrid, variational_bound

__all__ = [
    "Loss",
    "Predict",
    "alpha_flow",
    "conditions_of",
    "consistency",
    "continuous_consistency",
    "decoder_levels",
    "denoising",
    "draw_times",
    "hybrid",
    "mean_flow",
    "shortcut",
    "variational_bound",
    "weighting",
]
