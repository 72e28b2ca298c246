"""Every sampler against diffusers' own, on the same predictions and the same noise.

The goldens were written by tests/peers/diffusers_schedulers.py; goldens/diffusers.json says with which versions.
"""

import dataclasses
import pathlib

import numpy as np
import pytest

from diffax import samplers, schedules
from tests.peers.diffusers_schedulers import CASES, MEANS, START, STDS, WEIGHTS
from tests.samplers.definition import mixture_halves

GOLDENS = np.load(pathlib.Path(__file__).parent / "goldens" / "diffusers.npz")
VP, EDM, COSINE = schedules.Discrete.linear(), schedules.VarianceExploding(0.002, 80.0), schedules.Cosine()


def sa_solver(schedule, times):
    """Their tau: 1 while the index of the time a step starts at is in 200..800."""
    index = np.round(times[:-1] * 1000) - 1
    return samplers.sa_solver(schedule, times, tau=((index >= 200) & (index <= 800)).astype(float), weights="published")


def ipndm(schedule, times):
    """Their first step, at alpha = 0, divides 0 by 1e-8 for an x_0 of 0: ours has the predicted one."""
    return dataclasses.replace(samplers.ipndm(schedule, times), b=None)


def multistep(**options):
    return lambda schedule, times: samplers.dpm_solver_multistep(schedule, times, lower_order_final=False, **options)


TABLES = {
    "ddpm_small": samplers.ddpm,
    "ddpm_large": lambda schedule, times: samplers.ddpm(schedule, times, variance="large"),
    "ddim": samplers.ddim,
    "ddim_eta": lambda schedule, times: samplers.ddim(schedule, times, eta=0.5),
    "pndm": samplers.pndm,
    "lms": samplers.lms,
    "euler": samplers.euler,
    "euler_ancestral": samplers.euler_ancestral,
    "heun": samplers.heun,
    "dpm_2m_midpoint": multistep(),
    "dpm_2m_heun": multistep(weights="exact"),
    "dpm_3m_published": multistep(order=3, weights="published"),
    "dpm_2m_eps": multistep(predict="eps"),
    "sde_dpm_2m_midpoint": multistep(tau=1.0),
    "sde_dpm_2m_heun": multistep(weights="exact", tau=1.0),
    "sa_solver": sa_solver,
    "ipndm": ipndm,
    "edm_euler": lambda schedule, times: samplers.to_data(samplers.edm(schedule, times, second_order=False), times[-1]),
    "edm_dpm_2m": lambda schedule, times: samplers.to_data(multistep()(schedule, times), times[-1]),
}
for order in (1, 2, 3):
    TABLES[f"deis_{order}"] = lambda schedule, times, p=order: samplers.adams(schedule, times, order=p, predict="eps")
    for variant in ("bh1", "bh2"):
        TABLES[f"unipc_{order}_{variant}"] = lambda schedule, times, p=order, v=variant: samplers.unipc(
            schedule, times, order=p, variant=v
        )


def grid_of(name, schedule):
    """Their noise levels as our times, each once. On EDM, the last step to sigma = 0 is a row of samplers.to_data."""
    ratios = GOLDENS[f"{name}/ratios"]
    ratios = ratios[np.append(True, np.diff(ratios) != 0)]
    finite = np.isfinite(ratios) & (ratios > 0)
    times = schedule.t_of_log_snr(-2 * np.log(ratios[finite]))
    ends = [] if schedule is EDM or ratios[-1] > 0 else [0.0]
    return np.concatenate([[1.0] if np.isinf(ratios[0]) else [], np.clip(times, 0, 1), ends])


@pytest.mark.parametrize("name", CASES)
def test_step_by_step(name):
    group = name.split("/")[0]
    schedule = EDM if group.startswith("edm") else COSINE if group == "ipndm" else VP
    times = grid_of(name, schedule)
    table = TABLES[group](schedule, times)
    start = START * (np.hypot(1, 80.0) if schedule is EDM else 1.0)
    ours = samplers.reference_run(mixture_halves(schedule, WEIGHTS, MEANS, STDS), table, start, GOLDENS["noise"])
    theirs, ratios = GOLDENS[f"{name}/states"], GOLDENS[f"{name}/ratios"]
    if schedule is EDM:  # whose states are stored times the alpha of a variance-preserving process
        theirs = theirs * np.hypot(1, ratios[1:])[:, None, None]
    # Under Karras spacing down to sigma_min they end with a step from sigma_min to itself.
    num = len(theirs) - (ratios[-1] == ratios[-2])
    # That step counts for their lower orders near the end.
    num -= 2 * name.endswith("bh1/karras")
    # With the large variance they leave noise out of the step from t = 0 alone, and trailing spacing ends with another.
    num -= name == "ddpm_large/trailing"
    ours, theirs = ours[:num], theirs[:num]
    assert len(ours) == num
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
