"""Training losses per sample, and loss weightings over noise levels."""

from diffax.losses import weighting
from diffax.losses._alpha_flow import alpha_flow
from diffax.losses._consistency import consistency
from diffax.losses._continuous_consistency import continuous_consistency
from diffax.losses._denoising import denoising
from diffax.losses._drifting import drifting, drifting_field
from diffax.losses._frechet_distance import frechet_distance, gaussian_frechet_distance
from diffax.losses._improved_mean_flow import improved_mean_flow
from diffax.losses._loss import Loss, Predict, Unconditional, conditions_of, draw_times
from diffax.losses._mean_flow import mean_flow
from diffax.losses._one_step import Population, Representation, is_one_step, needs_moments
from diffax.losses._shortcut import shortcut
from diffax.losses._terminal_velocity import terminal_velocity
from diffax.losses._variational import decoder_levels, hybrid, variational_bound

__all__ = [
    "Loss",
    "Population",
    "Predict",
    "Representation",
    "Unconditional",
    "alpha_flow",
    "conditions_of",
    "consistency",
    "continuous_consistency",
    "decoder_levels",
    "denoising",
    "draw_times",
    "drifting",
    "drifting_field",
    "frechet_distance",
    "gaussian_frechet_distance",
    "hybrid",
    "improved_mean_flow",
    "is_one_step",
    "mean_flow",
    "needs_moments",
    "shortcut",
    "terminal_velocity",
    "variational_bound",
    "weighting",
]
