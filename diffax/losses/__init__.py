"""Training losses per sample, and how they weigh noise levels."""

from diffax.losses import weighting
from diffax.losses.denoising import denoising

__all__ = ["denoising", "weighting"]
