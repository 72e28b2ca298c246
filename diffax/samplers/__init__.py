"""Samplers: tables of coefficients, time grids, and the one loop that runs them."""

from diffax.samplers import grids
from diffax.samplers.adams import adams
from diffax.samplers.adaptive import probability_flow
from diffax.samplers.ancestral import ancestral
from diffax.samplers.brownian import brownian
from diffax.samplers.consistency import consistency
from diffax.samplers.ddim import ddim
from diffax.samplers.ddpm import ddpm
from diffax.samplers.definition import by_definition
from diffax.samplers.dpm_solver import dpm_solver
from diffax.samplers.dpm_solver_multistep import dpm_solver_multistep
from diffax.samplers.edm import edm
from diffax.samplers.euler_maruyama import euler_maruyama
from diffax.samplers.gaussian_law import GaussianLaw, gaussian_law
from diffax.samplers.langevin import annealed_langevin, langevin, predictor_corrector
from diffax.samplers.latents import Inversion, invert, lerp, slerp
from diffax.samplers.linear_multistep import ipndm, lms, pndm
from diffax.samplers.loop import prior, run
from diffax.samplers.repaint import repaint
from diffax.samplers.restart import Restart, restart
from diffax.samplers.runge_kutta import euler, heun, midpoint
from diffax.samplers.sa_solver import sa_solver
from diffax.samplers.table import SamplerTable, make_table
from diffax.samplers.unipc import unipc

__all__ = [
    "GaussianLaw",
    "Inversion",
    "Restart",
    "SamplerTable",
    "adams",
    "ancestral",
    "annealed_langevin",
    "brownian",
    "by_definition",
    "consistency",
    "ddim",
    "ddpm",
    "dpm_solver",
    "dpm_solver_multistep",
    "edm",
    "euler",
    "euler_maruyama",
    "gaussian_law",
    "grids",
    "heun",
    "invert",
    "ipndm",
    "langevin",
    "lerp",
    "lms",
    "make_table",
    "midpoint",
    "pndm",
    "predictor_corrector",
    "prior",
    "probability_flow",
    "repaint",
    "restart",
    "run",
    "sa_solver",
    "slerp",
    "unipc",
]
