"""How near generated samples are to real ones."""

from diffax.evaluation import frechet, sliced_wasserstein

__all__ = ["frechet", "sliced_wasserstein"]
