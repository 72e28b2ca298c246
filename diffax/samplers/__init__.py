"""Samplers: tables of coefficients, time grids, and the one loop that runs them."""

from diffax.samplers import grids
from diffax.samplers.adams import adams
from diffax.samplers.ddim import ddim
from diffax.samplers.ddpm import ddpm
from diffax.samplers.dpm_solver import dpm_solver
from diffax.samplers.loop import prior, run
from diffax.samplers.runge_kutta import euler, heun, midpoint
from diffax.samplers.table import SamplerTable, make_table

__all__ = [
    "SamplerTable",
    "adams",
    "ddim",
    "ddpm",
    "dpm_solver",
    "euler",
    "grids",
    "heun",
    "make_table",
    "midpoint",
    "prior",
    "run",
]
