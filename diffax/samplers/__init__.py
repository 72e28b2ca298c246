"""Samplers: tables of coefficients, time grids, and the sampling loop that runs any table.

A sampler is a function `schedule, times -> SamplerTable`; SAMPLERS lists them. `run` executes a table. Adaptive ODE
solving and Langevin dynamics, whose steps depend on the state, have functions of their own.
"""

from diffax.samplers import grids
from diffax.samplers._adams import adams
from diffax.samplers._ancestral import ancestral
from diffax.samplers._brownian import brownian
from diffax.samplers._consistency import consistency
from diffax.samplers._ddim import ddim, euler_ancestral
from diffax.samplers._ddpm import ddpm
from diffax.samplers._dpm_solver import dpm_solver
from diffax.samplers._dpm_solver_multistep import dpm_solver_multistep
from diffax.samplers._edm import edm
from diffax.samplers._euler_maruyama import euler_maruyama
from diffax.samplers._flow_map import flow_map
from diffax.samplers._gaussian_law import GaussianLaw, gaussian_law
from diffax.samplers._langevin import annealed_langevin, langevin, predictor_corrector
from diffax.samplers._repaint import repaint
from diffax.samplers._restart import Restart, restart
from diffax.samplers._sa_solver import sa_solver
from diffax.samplers._straightness import straightness
from diffax.samplers._unipc import unipc
from diffax.samplers.adaptive import probability_flow
from diffax.samplers.latents import Inversion, inversion_times, invert, lerp, slerp
from diffax.samplers.linear_multistep import ipndm, lms, pndm
from diffax.samplers.loop import prior, run
from diffax.samplers.reference import reference_run
from diffax.samplers.runge_kutta import euler, heun, midpoint
from diffax.samplers.table import SamplerTable, make_table, to_data

# The functions (schedule, times, *, options) -> SamplerTable, by whose names config.sampler.name chooses.
SAMPLERS: tuple = (
    ddim,
    ddpm,
    euler,
    euler_ancestral,
    euler_maruyama,
    heun,
    midpoint,
    edm,
    adams,
    dpm_solver,
    dpm_solver_multistep,
    unipc,
    sa_solver,
    lms,
    ipndm,
    pndm,
    consistency,
    flow_map,
    restart,
    repaint,
    ancestral,
)

__all__ = [
    "SAMPLERS",
    "GaussianLaw",
    "Inversion",
    "Restart",
    "SamplerTable",
    "adams",
    "ancestral",
    "annealed_langevin",
    "brownian",
    "consistency",
    "ddim",
    "ddpm",
    "dpm_solver",
    "dpm_solver_multistep",
    "edm",
    "euler",
    "euler_ancestral",
    "euler_maruyama",
    "flow_map",
    "gaussian_law",
    "grids",
    "heun",
    "inversion_times",
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
    "reference_run",
    "repaint",
    "restart",
    "run",
    "sa_solver",
    "slerp",
    "straightness",
    "to_data",
    "unipc",
]
