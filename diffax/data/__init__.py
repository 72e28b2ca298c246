"""Datasets held in memory and the batches drawn from them: plain NumPy, no schedule, no network."""

from diffax.data import dataset, digits, order, pipeline, toy

__all__ = ["dataset", "digits", "order", "pipeline", "toy"]
