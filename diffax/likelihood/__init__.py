"""Likelihoods of a denoiser's generative model, each (batch,) in nats."""

from diffax.likelihood import variational_bound

__all__ = ["variational_bound"]
