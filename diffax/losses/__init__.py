"""Training losses per sample, and how they weigh noise levels."""

from diffax.losses import weighting
from diffax.losses.denoising import denoising, draw_times

__all__ = ["denoising", "draw_times", "weighting"]
