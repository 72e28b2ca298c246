"""Samplers: tables of coefficients, time grids, and the one loop that runs them."""

from diffax.samplers import grids
from diffax.samplers.adams import adams
from diffax.samplers.ddim import ddim
from diffax.samplers.ddpm import ddpm
from diffax.samplers.loop import prior, run
from diffax.samplers.table import SamplerTable, make_table

__all__ = ["SamplerTable", "adams", "ddim", "ddpm", "grids", "make_table", "prior", "run"]
