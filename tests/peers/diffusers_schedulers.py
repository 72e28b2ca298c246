"""The trajectories of diffusers' schedulers under an exact noise prediction, and the goldens that `make test` reads.

python -m tests.peers.diffusers_schedulers      writes tests/samplers/goldens/diffusers.npz and diffusers.json

Every scheduler is stepped in float64 from the same start. The prediction is that of a Gaussian mixture in NumPy, at the
noise level that the scheduler's coefficients have (diffusers tells a network a rounded time under Karras spacing; here
there is none). Noise is drawn beforehand and handed to both sides. States are stored as x alpha, with alpha the signal
of a variance-preserving process, also for the schedulers that work on x.
"""

import importlib
import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

GOLDENS = pathlib.Path(__file__).parents[1] / "samplers" / "goldens" / "diffusers"
STEPS, TRAIN_STEPS = 20, 1000
RNG = np.random.default_rng(2026)
START = RNG.normal(size=(2, 3))
NOISE = RNG.normal(size=(2 * STEPS + 2, 2, 3))
WEIGHTS = np.array([0.3, 0.7])
MEANS = np.array([[1.0, -0.5, 0.3], [-0.4, 0.6, -0.8]])
STDS = np.array([0.3, 0.5])
BETAS = {"num_train_timesteps": TRAIN_STEPS, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
SPACINGS = ("leading", "trailing", "linspace")


class Case(NamedTuple):
    """A scheduler with its options. space: whether its states are x ("data") or x alpha ("vp")."""

    scheduler: str
    options: dict[str, Any]
    space: str = "vp"


def _spacings(scheduler, space="vp", spacings=SPACINGS, karras=True, **options):
    cases = {spacing: Case(scheduler, {**options, "timestep_spacing": spacing}, space) for spacing in spacings}
    if karras:
        cases["karras"] = Case(scheduler, {**options, "use_karras_sigmas": True}, space)
    return cases


def _cases() -> dict[str, Case]:
    groups = {
        "ddpm_small": _spacings("DDPMScheduler", karras=False, variance_type="fixed_small", clip_sample=False),
        "ddpm_large": _spacings("DDPMScheduler", karras=False, variance_type="fixed_large", clip_sample=False),
        # Their linspace steps to t - 1000 // 20, which is not the time they evaluate next.
        "ddim": _spacings("DDIMScheduler", karras=False, spacings=SPACINGS[:2], clip_sample=False),
        "ddim_eta": {"trailing": Case("DDIMScheduler", {"timestep_spacing": "trailing", "clip_sample": False})},
        "pndm": _spacings(
            "PNDMScheduler", karras=False, spacings=SPACINGS[:2], skip_prk_steps=True, set_alpha_to_one=True
        ),
        "lms": _spacings("LMSDiscreteScheduler", "data"),
        "euler": _spacings("EulerDiscreteScheduler", "data"),
        "euler_ancestral": _spacings("EulerAncestralDiscreteScheduler", "data", karras=False),
        "heun": _spacings("HeunDiscreteScheduler", "data"),
        "dpm_2m_midpoint": _spacings("DPMSolverMultistepScheduler"),
        "dpm_2m_heun": _spacings("DPMSolverMultistepScheduler", solver_type="heun"),
        "dpm_3m_published": _spacings("DPMSolverMultistepScheduler", solver_order=3),
        "dpm_2m_eps": {
            "karras": Case(
                "DPMSolverMultistepScheduler",
                {"algorithm_type": "dpmsolver", "use_karras_sigmas": True, "final_sigmas_type": "sigma_min"},
            )
        },
        "sde_dpm_2m_midpoint": _spacings("DPMSolverMultistepScheduler", algorithm_type="sde-dpmsolver++"),
        "sde_dpm_2m_heun": {
            "trailing": Case(
                "DPMSolverMultistepScheduler",
                {"algorithm_type": "sde-dpmsolver++", "solver_type": "heun", "timestep_spacing": "trailing"},
            )
        },
        "sa_solver": {"trailing": Case("SASolverScheduler", {"timestep_spacing": "trailing"})},
        "ipndm": {"own": Case("IPNDMScheduler", {})},
        "edm_euler": {"karras": Case("EDMEulerScheduler", {}, "edm")},
        "edm_dpm_2m": {"karras": Case("EDMDPMSolverMultistepScheduler", {}, "edm")},
    }
    for order in (1, 2, 3):
        groups[f"deis_{order}"] = _spacings("DEISMultistepScheduler", solver_order=order)
        for variant in ("bh1", "bh2"):
            groups[f"unipc_{order}_{variant}"] = _spacings(
                "UniPCMultistepScheduler",
                solver_order=order,
                solver_type=variant,
                # bh1 into sigma = 0 is h = infinity, NaN in diffusers.
                **({"final_sigmas_type": "sigma_min"} if variant == "bh1" else {}),
            )
    return {f"{group}/{spacing}": case for group, cases in groups.items() for spacing, case in cases.items()}


CASES = _cases()


def eps_of(x: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
    """E[eps | alpha x_0 + sigma eps = x] of the mixture."""
    variance = (alpha * STDS) ** 2 + sigma**2
    residual = x[:, None] - alpha * MEANS
    log_joint = np.log(WEIGHTS) - 0.5 * (residual**2).sum(-1) / variance - 1.5 * np.log(variance)
    share = np.exp(log_joint - log_joint.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    return (share[..., None] * sigma * residual / variance[:, None]).sum(1)


def trajectory(name: str) -> dict[str, np.ndarray]:
    """ratios: sigma / alpha at every call and at the end; states: x alpha after every call."""
    import diffusers
    import torch

    diffusers.logging.set_verbosity_error()
    case = CASES[name]
    scheduler = _scheduler(case)
    noise = iter(torch.from_numpy(NOISE))
    module = importlib.import_module(type(scheduler).__module__)
    if hasattr(module, "randn_tensor"):
        module.randn_tensor = lambda *_, **__: next(noise)
    options = {"eta": 0.5} if name.startswith("ddim_eta") else {}

    ratios = _ratios(scheduler, case)
    alphas = np.where(np.isinf(ratios), 0.0, 1 / np.hypot(1, ratios))
    scales = alphas if case.space == "vp" else np.ones_like(alphas)  # x is scale x_0 + its ratio eps
    x, states = torch.from_numpy(START / (1 if case.space == "vp" else alphas[0])), []
    for i, t in enumerate(scheduler.timesteps):
        sigma = 1.0 if np.isinf(ratios[i]) else scales[i] * ratios[i]
        output = eps_of(x.numpy(), scales[i], sigma)
        if case.space == "edm":
            output = _raw_edm(scheduler, x.numpy(), ratios[i], output)
        if case.scheduler == "IPNDMScheduler":  # takes v, and makes eps of it; at alpha = 0 its factor is 0
            output = 0 * output if scales[i] == 0 else (output - sigma * x.numpy()) / scales[i]
        x = scheduler.step(torch.from_numpy(output), t, x, **options).prev_sample.double()
        states.append(x.numpy() * (alphas[i + 1] / scales[i + 1]))
    return {"ratios": ratios, "states": np.array(states)}


def _scheduler(case: Case) -> Any:
    import diffusers
    import torch

    options = BETAS if case.space in ("vp", "data") and case.scheduler != "IPNDMScheduler" else {}
    scheduler = getattr(diffusers, case.scheduler)(**options, **case.options)
    scheduler.set_timesteps(STEPS)
    for name in (
        "sigmas",
        "alphas_cumprod",
        "betas",
        "alphas",
        "alpha_t",
        "sigma_t",
        "lambda_t",
        "final_alpha_cumprod",
        "one",
    ):
        value = getattr(scheduler, name, None)
        if isinstance(value, torch.Tensor):
            setattr(scheduler, name, value.double())
    return scheduler


def _ratios(scheduler: Any, case: Case) -> np.ndarray:
    if case.scheduler == "IPNDMScheduler":
        # Its times are angles: alpha = cos, sigma = sin, from pure noise.
        angles = np.asarray(scheduler.timesteps.double()) * np.pi / 2
        return np.concatenate([[np.inf], np.tan(angles[1:]), [0.0]])
    if hasattr(scheduler, "sigmas"):
        return np.asarray(scheduler.sigmas.double())
    alphas_cumprod = np.asarray(scheduler.alphas_cumprod.double())
    at = np.asarray(scheduler.timesteps)
    return np.append(np.sqrt((1 - alphas_cumprod[at]) / alphas_cumprod[at]), 0.0)


def _raw_edm(scheduler: Any, x: np.ndarray, sigma: float, eps: np.ndarray) -> np.ndarray:
    """The network output that the scheduler turns into the prediction x - sigma eps."""
    sd = scheduler.config.sigma_data
    skip, out = sd**2 / (sigma**2 + sd**2), sigma * sd / np.sqrt(sigma**2 + sd**2)
    return ((x - sigma * eps) - skip * x) / out


def write() -> None:
    """Writes the goldens."""
    import diffusers
    import torch

    GOLDENS.parent.mkdir(exist_ok=True)
    arrays = {f"{name}/{key}": value for name in CASES for key, value in trajectory(name).items()}
    np.savez_compressed(GOLDENS.with_suffix(".npz"), start=START, noise=NOISE, **arrays)
    provenance = {
        "made by": "python -m tests.peers.diffusers_schedulers",
        "diffusers": diffusers.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "steps": STEPS,
        "cases": {name: [case.scheduler, case.options] for name, case in CASES.items()},
    }
    GOLDENS.with_suffix(".json").write_text(json.dumps(provenance, indent=1) + "\n")


if __name__ == "__main__":
    write()
