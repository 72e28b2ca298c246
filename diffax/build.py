"""Factories of the objects that a configuration names; the only place where a string names a thing.

Tables of what the names stand for, the slots of the configuration where they may stand, and functions that make the
objects of a resolved configuration (resolve.py). build_data.py, build_training.py and build_likelihood.py are the parts
of it that concern data, training and likelihoods. Every function raises ValueError with one line that says what was
expected, what came and what is valid.
"""

import functools
import inspect
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from diffax import (
    build_conditions,
    build_data,
    build_likelihood,
    build_pairing,
    build_training,
    choices,
    conditions,
    denoisers,
    evaluation,
    losses,
    networks,
    processes,
    samplers,
    schedules,
    training,
)
from diffax.choices import Slot
from diffax.denoisers import time_inputs
from diffax.processes import time_sampling
from diffax.reporting.loggers import LOGGERS, Logger, check_installed
from diffax.typing import Denoiser, Network, Schedule

SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "cosine": schedules.Cosine,
    "linear_beta": schedules.LinearBeta,
    "sigmoid": schedules.Sigmoid,
    "variance_exploding": schedules.VarianceExploding,
    "sub_vp": schedules.SubVP,
    "flow": schedules.Flow,
    "discrete_linear": schedules.Discrete.linear,
    "discrete_scaled_linear": schedules.Discrete.scaled_linear,
    "discrete_cosine": schedules.Discrete.cosine,
    "discrete_sigmoid": schedules.Discrete.sigmoid,
    "shifted": schedules.Shifted,
    "learned": schedules.Learned.initial,
    "shifted_for_resolution": schedules.Shifted.for_resolution,
}
PARAMETERIZATIONS: dict[str, Callable[..., processes.Parameterization]] = {
    "eps": processes.Eps,
    "x_0": processes.X0,
    "v": processes.V,
    "flow": processes.FlowVelocity,
    "score": processes.Score,
    "edm": processes.Edm,
    "edm_gaussian": processes.edm_gaussian,
}
NOISES = {"normal": processes.NormalNoise, "pfgmpp": processes.PoissonFlowNoise}
WEIGHTINGS: dict[str, Callable[..., losses.weighting.Weighting]] = {
    "uniform": losses.weighting.Uniform,
    "snr": losses.weighting.Snr,
    "truncated_snr": losses.weighting.TruncatedSnr,
    "min_snr": losses.weighting.MinSnr,
    "p2": losses.weighting.P2,
    "sigmoid": losses.weighting.Sigmoid,
    "edm": losses.weighting.Edm,
    "velocity": losses.weighting.Velocity,
    "flow": losses.weighting.Flow,
    "variational": losses.weighting.Variational,
    "learned": losses.weighting.Learned.initial,
}
TIME_DENSITIES = {
    "uniform": time_sampling.Uniform,
    "discrete_uniform": time_sampling.DiscreteUniform,
    "fixed": time_sampling.Fixed,
    "logit_normal": time_sampling.LogitNormal,
    "log_normal_sigma": time_sampling.LogNormalSigma,
    "loss_second_moment": processes.importance_sampling.LossSecondMoment,
}
TIME_INPUTS = {
    "index": time_inputs.index,
    "scaled": time_inputs.scaled,
    "unscaled": time_inputs.unscaled,
    "quarter_log_sigma": time_inputs.quarter_log_sigma,
    "log_snr": time_inputs.log_snr,
}
TIME_FEATURES = {"sinusoidal": networks.SinusoidalFeatures, "fourier": networks.FourierFeatures}
NETWORKS = {network.__name__.lower(): network for network in networks.NETWORKS}
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
# Used as they are: what makes an extractor, which a data set may still be passed to.
FEATURES: dict[str, Callable[..., evaluation.features.Extractor]] = dict(evaluation.features.EXTRACTORS)
EVALUATORS: dict[str, Callable[..., Any]] = {one.__name__: one for one in evaluation.EVALUATORS}

_SCHEDULE = Slot(SCHEDULES)
_SCHEDULE = Slot(SCHEDULES, nested={"base": (_SCHEDULE, "cosine")})
_TIME_FEATURES = Slot(TIME_FEATURES)
_FEATURES = Slot(FEATURES, passed=evaluation.features.PASSED, is_function=True)
# Where choices stand in a configuration.
SLOTS: dict[str, Slot] = {
    "data": build_data.SOURCE_SLOT,
    "data.augment": build_data.AUGMENT_SLOT,
    "model": Slot(
        NETWORKS,
        passed=("conditions", "sample_shape", "out_channels", "out_dim", "parent", "name"),
        nested={"time_features": (_TIME_FEATURES, "sinusoidal")},
    ),
    "model.time_input": Slot(TIME_INPUTS, is_function=True),
    "schedule": _SCHEDULE,
    "noise": Slot(NOISES),
    "parameterization": Slot(PARAMETERIZATIONS, passed=("moments",)),
    "loss": build_training.LOSS_SLOT,
    "loss.weighting": Slot(WEIGHTINGS),
    "loss.time_density": Slot(TIME_DENSITIES, passed=("history",)),
    "loss.features": _FEATURES,
    "train.coupling": build_pairing.COUPLING_SLOT,
    "optimizer": build_training.OPTIMIZER_SLOT,
    "optimizer.decay": build_training.DECAY_SLOT,
    "evaluation.features": _FEATURES,
    "likelihood.dequantization": build_likelihood.DEQUANTIZATION_SLOT,
    "likelihood.divergence": build_likelihood.DIVERGENCE_SLOT,
    "sampler": Slot(SAMPLERS, passed=("schedule", "times", "churn_steps")),
    "sampler.grid": Slot(GRIDS, passed=("schedule", "num_steps", "num_train_steps")),
    "sampler.guidance": Slot(GUIDANCE, passed=("conditional", "conditionals", "unconditional", "schedule")),
    "sampler.thresholding": Slot(THRESHOLDING, passed=("denoiser", "schedule")),
}
# Where any number of choices stand, each under a key that is its name unless it has a `name`; and what each may have
# beside its options.
GROUPS: dict[str, tuple[Slot, dict[str, Any]]] = {
    "conditions": (build_conditions.CONDITION_SLOT, build_conditions.BESIDE),
    "ema": (build_training.AVERAGE_SLOT, {}),
    "evaluators": (Slot(EVALUATORS, is_function=True, nested={"features": (_FEATURES, "pixels")}), {"every": 5_000}),
    "loggers": (Slot(LOGGERS, passed=("workdir", "resume_step", "config")), {}),
}
# Options whose default is the value of another setting: the data have one standard deviation, a chain one length.
SAME_AS = {
    "loss.weighting.sigma_data": "parameterization.sigma_data",
    "loss.num_steps": "schedule.num_steps",
    "loss.time_density.num_steps": "schedule.num_steps",
}


def schedule(config: ConfigDict) -> Schedule:
    """The noise schedule, config.schedule."""
    return _pytree(choices.make("schedule", config.schedule, SLOTS["schedule"]))


def needs_moments(config: ConfigDict) -> bool:
    """Whether config.parameterization takes the data's mean and covariance."""
    constructor = choices.lookup("parameterization", config.parameterization.name, SLOTS["parameterization"])
    return "moments" in choices.parameters(constructor)


def parameterization(config: ConfigDict, moments: processes.Moments | None) -> processes.Parameterization:
    """What the network predicts, config.parameterization; moments: of the data, where `needs_moments`."""
    slot = SLOTS["parameterization"]
    return _pytree(choices.make("parameterization", config.parameterization, slot, moments=moments))


def noise(config: ConfigDict) -> processes.Noise:
    """The law of the noise, config.noise."""
    return _pytree(choices.make("noise", config.noise, SLOTS["noise"]))


def weighting(config: ConfigDict) -> losses.weighting.Weighting:
    """The loss weighting, config.loss.weighting."""
    return _pytree(choices.make("loss.weighting", config.loss.weighting, SLOTS["loss.weighting"]))


def time_density(config: ConfigDict) -> time_sampling.TimeDensity:
    """The density of training times, config.loss.time_density, stratified where config.loss.stratified says so."""
    density = _pytree(choices.make("loss.time_density", config.loss.time_density, SLOTS["loss.time_density"]))
    if config.loss.stratified and isinstance(density, processes.importance_sampling.Adaptive):
        raise ValueError(
            f"loss.stratified is for densities that stay as they are, and {config.loss.time_density.name!r} follows "
            "the losses: set loss.stratified=False"
        )
    return time_sampling.Stratified(density) if config.loss.stratified else density


def network(config: ConfigDict, sample_shape: tuple[int, ...], kinds: conditions.Kinds) -> Network:
    """The network, config.model, for samples of a shape and conditions of these kinds.

    Its raw output has twice the channels of a sample where config.loss trains a variance.
    """
    passed: dict[str, Any] = {"sample_shape": sample_shape, "conditions": dict(kinds)}
    if build_training.learns_variance(config):
        passed |= {"out_channels": 2 * sample_shape[-1], "out_dim": 2 * sample_shape[-1]}
    made = choices.make("model", config.model, SLOTS["model"], **passed)
    module = networks.as_network(made, config.model.name)
    if dict(module.conditions) != dict(kinds):
        raise ValueError(
            f"the network {config.model.name!r} takes the conditions {_listed(module.conditions)}, and the "
            f"configuration (conditions, data.augment) gives {_listed(kinds)}"
        )
    return module


def _listed(kinds: conditions.Kinds) -> str:
    return ", ".join(f"{name}: {kind}" for name, kind in sorted(kinds.items())) or "none"


def time_input(config: ConfigDict, schedule: Schedule) -> denoisers.TimeInput:
    """What the network is given of the time, config.model.time_input; refused where the schedule cannot give it."""
    chosen = choices.make("model.time_input", config.model.time_input, SLOTS["model.time_input"])
    chosen(schedule, np.ones(1))
    return chosen


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
    to_data = choices.lookup("sampler", options.name, SLOTS["sampler"]) in (samplers.flow_map, samplers.consistency)
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
    return choices.make("sampler", config.sampler, SLOTS["sampler"], **passed)


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
    embeds = choices.lookup("sampler.guidance", guidance.name, SLOTS["sampler.guidance"]) is denoisers.embedded
    is_outside = guidance.name != "none" and not embeds
    is_changed = is_outside or epsilon != 1 or config.sampler.thresholding.name != "none"
    if is_changed and choices.lookup("sampler", config.sampler.name, SLOTS["sampler"]) is samplers.flow_map:
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
            result = choices.make("sampler.guidance", options.guidance, SLOTS["sampler.guidance"], **passed)
    if options.epsilon_scale != 1:
        result = denoisers.epsilon_scaled(result, schedule, options.epsilon_scale)
    slot = SLOTS["sampler.thresholding"]
    return _pytree(choices.make("sampler.thresholding", options.thresholding, slot, denoiser=result, schedule=schedule))


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


def evaluators(config: ConfigDict) -> dict[str, tuple[int, evaluation.Evaluator]]:
    """{key: (every, evaluator)} of config.evaluators."""
    slot, _ = GROUPS["evaluators"]
    chosen = {}
    for key, entry in config.evaluators.items():
        if entry.every < 1:
            raise ValueError(f"evaluators.{key}.every must be >= 1, got {entry.every}")
        chosen[key] = entry.every, choices.make(f"evaluators.{key}", entry, slot)
    return chosen


def features(config: ConfigDict) -> Callable[..., evaluation.features.Extractor]:
    """What makes the feature extractor of config.evaluation.features."""
    return choices.make("evaluation.features", config.evaluation.features, SLOTS["evaluation.features"])


def loss_features(config: ConfigDict) -> Callable[..., evaluation.features.Extractor] | None:
    """What makes the feature extractor that config.loss compares samples in; None for a loss without features."""
    if not training.takes(build_training.loss_function(config), "representation"):
        return None
    return choices.make("loss.features", config.loss.features, SLOTS["loss.features"])


def check_loggers(config: ConfigDict) -> None:
    """Raises ValueError for a logger of config.loggers whose package is not installed."""
    for entry in config.loggers.values():
        check_installed(entry.name)


def loggers(config: ConfigDict, workdir: pathlib.Path, resume_step: int | None) -> dict[str, Logger]:
    """The loggers of config.loggers by their keys; resume_step: as for reporting.metrics.MetricsWriter."""
    passed = {"workdir": workdir, "resume_step": resume_step, "config": config.to_dict()}
    slot, _ = GROUPS["loggers"]
    return {key: choices.make(f"loggers.{key}", entry, slot, **passed) for key, entry in config.loggers.items()}


def _times(options: ConfigDict, schedule: Schedule, num_steps: int) -> np.ndarray:
    if options.grid.name == "discrete" and not isinstance(schedule, schedules.Discrete):
        raise ValueError("sampler.grid = 'discrete' needs a discrete schedule; use uniform, log_snr or karras")
    passed = {"schedule": schedule, "num_steps": num_steps, "num_train_steps": getattr(schedule, "num_steps", None)}
    return np.asarray(choices.make("sampler.grid", options.grid, SLOTS["sampler.grid"], **passed), np.float64)


def _pytree(thing: Any) -> Any:
    """The object as a pytree, which compiled programs take as an argument: one of the user's own need not be one."""
    leaves = jax.tree.leaves(thing)
    if len(leaves) != 1 or leaves[0] is not thing:
        return thing
    if inspect.isroutine(thing) or isinstance(thing, functools.partial):
        return jax.tree_util.Partial(thing)
    # Static: its numbers are constants of the program, and another object is another program.
    jax.tree_util.register_static(type(thing))
    return thing
