"""Samplers and denoisers of a configuration, config.sampler; a part of build.py.

Every function raises ValueError with one line that says what was expected, what came and what is valid.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from diffax import arrays, choices, conditions, denoisers, processes, samplers, schedules
from diffax.choices import Slot
from diffax.typing import Denoiser, Network, Schedule

SAMPLERS: dict[str, Callable[..., samplers.SamplerTable]] = {sampler.__name__: sampler for sampler in samplers.SAMPLERS}
GRIDS: dict[str, Callable[..., Any]] = {
    "uniform": samplers.grids.uniform,
    "log_snr": samplers.grids.log_snr,
    "karras": samplers.grids.karras,
    "discrete": samplers.grids.discrete,
}


def _conditional(conditional: Denoiser) -> Denoiser:
    return conditional


def _unchanged(denoiser: Denoiser) -> Denoiser:
    return denoiser


GUIDANCE: dict[str, Callable[..., Any]] = {
    "none": _conditional,
    "classifier_free": denoisers.classifier_free,
    "composed": denoisers.composed,
    "cfg_plus_plus": denoisers.cfg_plus_plus,
    "rescaled": denoisers.rescaled,
    "embedded": denoisers.embedded,
}
THRESHOLDING: dict[str, Callable[..., Any]] = {"none": _unchanged, "thresholded": denoisers.thresholded}

SAMPLER_SLOT = Slot(SAMPLERS, passed=("schedule", "times", "churn_steps"))
GRID_SLOT = Slot(GRIDS, passed=("schedule", "num_steps", "num_train_steps"))
GUIDANCE_SLOT = Slot(GUIDANCE, passed=("conditional", "conditionals", "unconditional", "schedule"))
THRESHOLDING_SLOT = Slot(THRESHOLDING, passed=("denoiser", "schedule"))


def sampler_table(
    config: ConfigDict, schedule: Schedule, parameterization: processes.Parameterization
) -> samplers.SamplerTable:
    """config.sampler as a table: num_steps steps over its time grid; methods with two stages make two calls a step.

    A schedule that ends at sigma_min > 0 gets a last row down to data, which counts as one of the steps.
    """
    options, num_steps = config.sampler, config.sampler.num_steps
    if num_steps < 1:
        raise ValueError(f"sampler.num_steps must be >= 1, got {num_steps}")
    times = _times(options, schedule, num_steps)
    # The last step of a flow map or of a consistency model itself goes to data.
    to_data = choices.lookup("sampler", options.name, SAMPLER_SLOT) in (samplers.flow_map, samplers.consistency)
    ends_above_zero = float(schedule.sigma(times[-1])) > 0 and not to_data
    if ends_above_zero:
        if num_steps < 2:
            raise ValueError("sampler.num_steps must be >= 2 where the last step goes from sigma_min to 0, got 1")
        times = _times(options, schedule, num_steps - 1)
    table = _table_on(config, schedule, times)
    table = samplers.to_data(table, times[-1]) if ends_above_zero else table
    processes.refuse_singular(parameterization, schedule, table.times)
    if table.is_stochastic and config.noise.name != "normal":
        raise ValueError(
            f"sampler {options.name!r} adds normal noise, and noise = {config.noise.name!r} can only be sampled by the "
            "ODE: use a deterministic sampler, such as ddim or heun"
        )
    return table


def inversion_tables(
    config: ConfigDict, schedule: Schedule, parameterization: processes.Parameterization, strength: float = 1.0
) -> tuple[samplers.SamplerTable, samplers.SamplerTable]:
    """config.sampler from data to noise and from there back, num_steps steps each on samplers.inversion_times.

    config.sampler.grid is not used: the times of inversion keep away from both ends.
    """
    times = samplers.inversion_times(schedule, config.sampler.num_steps, strength=strength)
    back = _table_on(config, schedule, times[::-1])
    if back.is_stochastic:
        raise ValueError(f"inversion needs a deterministic sampler, and {back.name} adds noise: use unipc or ddim")
    tables = _table_on(config, schedule, times), back
    for table in tables:
        processes.refuse_singular(parameterization, schedule, table.times)
    return tables


def _table_on(config: ConfigDict, schedule: Schedule, times: np.ndarray) -> samplers.SamplerTable:
    """config.sampler on given times."""
    passed = {"schedule": schedule, "times": times, "churn_steps": config.sampler.num_steps}
    return choices.make("sampler", config.sampler, SAMPLER_SLOT, **passed)


def check_denoiser(config: ConfigDict, network: Network) -> None:
    """Raises ValueError for guidance or epsilon scaling that this network's denoiser cannot follow.

    Warns of guidance by the null value of a condition that was never trained.
    """
    _refuse_denoiser(config, network)
    guidance = config.sampler.guidance
    is_guided = guidance.name == "cfg_plus_plus" or (guidance.name != "none" and guidance.get("scale") != 1)
    never = [name for name in _guided(config, network) if config.conditions[name].drop == 0]
    if is_guided and never and config.model.drop_together == 0:
        warnings.warn(
            f"sampler.guidance = {guidance.name!r} needs the prediction without {never[0]!r}, which this model never "
            f"learned (conditions.{never[0]}.drop = 0): samples will be poor. Train with conditions.{never[0]}.drop="
            "0.1, or sample with guidance scale 1",
            stacklevel=2,
        )


def _guided(config: ConfigDict, network: Network) -> tuple[str, ...]:
    """The names of the conditions that guidance acts on."""
    guidance = config.sampler.guidance
    known = tuple(name for name in config.conditions if name in network.conditions)
    if guidance.name == "composed":
        asked = tuple(name for name, _ in _pairs(guidance.scales))
    else:
        asked = tuple(guidance.over) or known
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise ValueError(f"sampler.guidance: there is no condition {unknown[0]!r}, but {', '.join(known) or 'none'}")
    return asked


def _pairs(scales: Sequence[Any]) -> list[tuple[str, float]]:
    """The scales of composed guidance, (("label", 2.0), ("text", 1.5))."""
    is_pair = [isinstance(pair, Sequence) and len(pair) == 2 and isinstance(pair[0], str) for pair in scales]
    if not scales or not all(is_pair) or not all(isinstance(scale, int | float) for _, scale in scales):
        raise ValueError(
            f"sampler.guidance.scales must be pairs of a condition and a scale, (('label', 2.0),), got {tuple(scales)}"
        )
    return [(name, float(scale)) for name, scale in scales]


def _refuse_denoiser(config: ConfigDict, network: Network) -> None:
    guidance, epsilon = config.sampler.guidance, config.sampler.epsilon_scale
    embeds = choices.lookup("sampler.guidance", guidance.name, GUIDANCE_SLOT) is denoisers.embedded
    is_outside = guidance.name != "none" and not embeds
    is_changed = is_outside or epsilon != 1 or config.sampler.thresholding.name != "none"
    if is_changed and choices.lookup("sampler", config.sampler.name, SAMPLER_SLOT) is samplers.flow_map:
        raise ValueError(
            "sampler 'flow_map' takes the samples that the network gives: set sampler.guidance=none or embedded, "
            "sampler.thresholding=none and sampler.epsilon_scale=1, or use ddim"
        )
    if embeds and not set(conditions.GUIDANCE) <= set(network.conditions):
        raise ValueError(
            f"sampler.guidance = {guidance.name!r} needs a network that was trained to be guided, by loss "
            "improved_mean_flow with max_scale above 1: use classifier_free"
        )
    if embeds and (guidance.over or not guidance.scale >= 1):
        raise ValueError(
            f"sampler.guidance = {guidance.name!r} is as it was trained: set sampler.guidance.over=() and a scale from "
            f"1 on, got {guidance.over} and {guidance.scale:g}"
        )
    if guidance.name != "none" and not _guided(config, network):
        raise ValueError(
            f"sampler.guidance = {guidance.name!r} needs a conditional model; this one is told nothing (conditions)"
        )
    if not epsilon > 0:
        raise ValueError(f"sampler.epsilon_scale must be > 0 (1 for none, 1.005 to 1.015 are usual), got {epsilon:g}")


def denoiser(
    config: ConfigDict,
    network: Network,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    params: Any,
    condition: conditions.Conditions | None = None,
    *,
    time_input: denoisers.TimeInput,
    negative: conditions.Conditions | None = None,
    others: Sequence[tuple[conditions.Conditions, float]] = (),
) -> Denoiser:
    """The denoiser of a network's parameters, with the guidance, epsilon scaling and thresholding of config.sampler.

    Args:
      negative: conditions that guidance leads away from, instead of the null values; by name.
      others: further conditions of the same structure, with scales, that classifier-free guidance composes it with.
    """
    _refuse_denoiser(config, network)
    options = config.sampler
    parts: tuple[Any, ...] = (network, params, schedule, parameterization)
    keywords: dict[str, Any] = {"time_input": time_input, "condition": condition}
    result: Denoiser = denoisers.from_network(*parts, **keywords)
    if (negative or others) and options.guidance.name != "classifier_free":
        raise ValueError(
            "negative prompts and composed ones need sampler.guidance = 'classifier_free', got "
            f"{options.guidance.name!r}"
        )
    if options.guidance.name != "none" and condition is not None:
        null = (conditions.null(condition, network.conditions, _guided(config, network)) or {}) | (negative or {})
        if options.guidance.name in ("classifier_free", "composed"):  # in one call of a larger batch
            towards = _towards(options.guidance, condition, null, others)
            (first, scale), others = towards[0], towards[1:]
            keywords |= {"condition": first, "null_condition": null, "interval": options.guidance.interval}
            result = denoisers.guided_network(*parts, scale=scale, others=others, **keywords)
        else:
            unconditional = denoisers.from_network(*parts, **keywords | {"condition": null})
            passed = {"conditional": result, "unconditional": unconditional, "schedule": schedule}
            result = choices.make("sampler.guidance", options.guidance, GUIDANCE_SLOT, **passed)
    if options.epsilon_scale != 1:
        result = denoisers.epsilon_scaled(result, schedule, options.epsilon_scale)
    passed = {"denoiser": result, "schedule": schedule}
    return arrays.as_pytree(choices.make("sampler.thresholding", options.thresholding, THRESHOLDING_SLOT, **passed))


def _towards(
    guidance: ConfigDict,
    condition: conditions.Conditions,
    null: conditions.Conditions,
    others: Sequence[tuple[conditions.Conditions, float]],
) -> list[tuple[conditions.Conditions, float]]:
    """What guidance leads to, and how far: the condition, or each of its entries by itself."""
    if guidance.name == "classifier_free":
        return [(condition, guidance.scale), *others]
    told = [(name, scale) for name, scale in _pairs(guidance.scales) if name in condition]
    return [(null | {name: condition[name]}, scale) for name, scale in told]


def _times(options: ConfigDict, schedule: Schedule, num_steps: int) -> np.ndarray:
    if options.grid.name == "discrete" and not isinstance(schedule, schedules.Discrete):
        raise ValueError("sampler.grid = 'discrete' needs a discrete schedule; use uniform, log_snr or karras")
    passed = {"schedule": schedule, "num_steps": num_steps, "num_train_steps": getattr(schedule, "num_steps", None)}
    return np.asarray(choices.make("sampler.grid", options.grid, GRID_SLOT, **passed), np.float64)
