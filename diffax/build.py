"""Factories of the objects that a configuration names; the only place where a string names a thing.

Tables of what the names stand for, the slots of the configuration where they may stand, and functions that make the
objects of a resolved configuration (resolve.py). build_data.py, build_training.py, build_sampler.py and
build_likelihood.py are the parts of it that concern data, training, sampling and likelihoods. Every function raises
ValueError with one line that says what was expected, what came and what is valid.
"""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from diffax import (
    arrays,
    build_conditions,
    build_data,
    build_likelihood,
    build_pairing,
    build_sampler,
    build_training,
    choices,
    conditions,
    denoisers,
    evaluation,
    losses,
    networks,
    processes,
    schedules,
    training,
)
from diffax.choices import Slot
from diffax.denoisers import time_inputs
from diffax.processes import time_sampling
from diffax.reporting.loggers import LOGGERS, Logger, check_installed
from diffax.typing import Network, Schedule

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
    "sampler": build_sampler.SAMPLER_SLOT,
    "sampler.grid": build_sampler.GRID_SLOT,
    "sampler.guidance": build_sampler.GUIDANCE_SLOT,
    "sampler.thresholding": build_sampler.THRESHOLDING_SLOT,
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
    return arrays.as_pytree(choices.make("schedule", config.schedule, SLOTS["schedule"]))


def needs_moments(config: ConfigDict) -> bool:
    """Whether config.parameterization takes the data's mean and covariance."""
    constructor = choices.lookup("parameterization", config.parameterization.name, SLOTS["parameterization"])
    return "moments" in choices.parameters(constructor)


def parameterization(config: ConfigDict, moments: processes.Moments | None) -> processes.Parameterization:
    """What the network predicts, config.parameterization; moments: of the data, where `needs_moments`."""
    slot = SLOTS["parameterization"]
    return arrays.as_pytree(choices.make("parameterization", config.parameterization, slot, moments=moments))


def noise(config: ConfigDict) -> processes.Noise:
    """The law of the noise, config.noise."""
    return arrays.as_pytree(choices.make("noise", config.noise, SLOTS["noise"]))


def weighting(config: ConfigDict) -> losses.weighting.Weighting:
    """The loss weighting, config.loss.weighting."""
    return arrays.as_pytree(choices.make("loss.weighting", config.loss.weighting, SLOTS["loss.weighting"]))


def time_density(config: ConfigDict) -> time_sampling.TimeDensity:
    """The density of training times, config.loss.time_density, stratified where config.loss.stratified says so."""
    density = arrays.as_pytree(choices.make("loss.time_density", config.loss.time_density, SLOTS["loss.time_density"]))
    if config.loss.stratified and isinstance(density, processes.importance_sampling.Adaptive):
        raise ValueError(
            f"loss.stratified is for densities that stay as they are, and {config.loss.time_density.name!r} follows "
            "the losses: set loss.stratified=False"
        )
    return time_sampling.Stratified(density) if config.loss.stratified else density


def network(config: ConfigDict, sample_shape: tuple[int, ...], kinds: conditions.Kinds) -> Network:
    """The network, config.model, for samples of a shape and conditions of these kinds.

    Its raw output has the channels of a sample, or twice as many where config.loss trains a variance.
    """
    channels = sample_shape[-1] * (2 if build_training.learns_variance(config) else 1)
    passed = {"sample_shape": sample_shape, "conditions": dict(kinds), "out_channels": channels, "out_dim": channels}
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
