"""Training losses per sample, and loss weightings over noise levels."""

from diffax.losses import weighting
from diffax.losses._denoising import denoising, draw_times

__all__ = ["denoising", "draw_times", "weighting"]
