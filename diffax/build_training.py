"""Optimizer, averages and loss of the training step, from their configuration; part of build."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffax import build_conditions, choices, denoisers, losses, processes, sharding, training
from diffax.choices import Slot
from diffax.conditions import SPAN, Kind, class_condition
from diffax.data.dataset import in_memory
from diffax.data.examples import Examples
from diffax.processes import importance_sampling, time_sampling
from diffax.typing import Network, Schedule

LOSSES: dict[str, losses.Loss] = {
    "denoising": losses.denoising,
    "hybrid": losses.hybrid,
    "variational_bound": losses.variational_bound,
    "mean_flow": losses.mean_flow,
    "drifting": losses.drifting,
    "frechet_distance": losses.frechet_distance,
    "improved_mean_flow": losses.improved_mean_flow,
    "terminal_velocity": losses.terminal_velocity,
    "alpha_flow": losses.alpha_flow,
    "shortcut": losses.shortcut,
    "consistency": losses.consistency,
    "continuous_consistency": losses.continuous_consistency,
}
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {"adam": training.adam, "muon": training.muon}
DECAYS = {
    "constant": training.learning_rate.constant,
    "cosine": training.learning_rate.cosine,
    "linear": training.learning_rate.linear,
}
AVERAGES: dict[str, Callable[..., training.ema.Averaging]] = {
    "constant": training.ema.Constant,
    "half_life": training.ema.HalfLife,
    "power": training.ema.Power.of_length,
}
_PASSED: tuple[str, ...] = ("weighting", "time_density", "noise", "eps", "t", "teacher", "num_levels", "progress")
_PASSED += ("unconditional", "representation", "labels")
LOSS_SLOT = Slot(LOSSES, passed=_PASSED, is_function=True)
OPTIMIZER_SLOT = Slot(OPTIMIZERS)
DECAY_SLOT = Slot(DECAYS, passed=("num_steps",))
AVERAGE_SLOT = Slot(AVERAGES)
_SNAPSHOT_DTYPES = {"float32": np.float32, "float16": np.float16}
# Stable targets compare a batch with all of the data, number by number: 1 GB of differences at most.
MOST_DIFFERENCES = 250_000_000


def optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """The optimizer, except for the learning rate."""
    return choices.make("optimizer", config.optimizer, OPTIMIZER_SLOT)


def learning_rate_shape(config: ConfigDict) -> training.LearningRateShape:
    """The learning-rate schedule as a fraction of its peak: warm-up, then decay until config.train.num_steps."""
    options, num_steps = config.optimizer, config.train.num_steps
    if options.warmup_steps < 0 or (options.decay.name != "constant" and options.warmup_steps >= num_steps):
        raise ValueError(
            "optimizer.warmup_steps must be >= 0 and, with a decay, below the "
            f"{num_steps} steps of training, got {options.warmup_steps}"
        )
    decay = choices.make("optimizer.decay", options.decay, DECAY_SLOT, num_steps=num_steps - options.warmup_steps)
    return training.learning_rate.with_warmup(decay, options.warmup_steps)


def averagings(config: ConfigDict) -> dict[str, training.ema.Averaging]:
    """The exponential moving averages of config.ema, by their keys."""
    averages = {key: choices.make(f"ema.{key}", entry, AVERAGE_SLOT) for key, entry in config.ema.items()}
    if not averages:
        raise ValueError("ema must name one average at least, such as ema.constant")
    has_power = any(isinstance(averaging, training.ema.Power) for averaging in averages.values())
    if config.train.snapshot_every < 0 or (config.train.snapshot_every and not has_power):
        raise ValueError(
            f"train.snapshot_every = {config.train.snapshot_every} needs a power-function average: "
            "--config.ema.power.length=0.05"
        )
    snapshot_dtype(config)
    return averages


def snapshot_dtype(config: ConfigDict) -> Any:
    """The dtype that snapshots of averages are stored in."""
    name = config.train.snapshot_dtype
    if name not in _SNAPSHOT_DTYPES:
        raise ValueError(f"train.snapshot_dtype must be one of {', '.join(_SNAPSHOT_DTYPES)}, got {name!r}")
    return _SNAPSHOT_DTYPES[name]


def loss_function(config: ConfigDict) -> losses.Loss:
    """The function that config.loss names, without its options."""
    return choices.lookup("loss", config.loss.name, LOSS_SLOT)


def learns_variance(config: ConfigDict) -> bool:
    """Whether config.loss trains the variance of the reverse steps: the network then has twice the data's channels."""
    chosen = loss_function(config)
    return chosen is losses.hybrid or config.loss.get("variance") == "learned"


def is_one_step(config: ConfigDict) -> bool:
    """Whether config.loss trains a generator of one evaluation."""
    return losses.is_one_step(loss_function(config))


def told_by_loss(config: ConfigDict) -> dict[str, Kind]:
    """The conditions that config.loss tells the network by itself, such as the span of a flow map."""
    return dict(losses.conditions_of(choices.make("loss", config.loss, LOSS_SLOT)))


def guides(config: ConfigDict) -> bool:
    """Whether config.loss folds classifier-free guidance into training."""
    options = config.loss
    return options.get("omega", 1) != 1 or options.get("kappa", 0) != 0 or options.get("max_scale", 1) > 1


def is_consistency(config: ConfigDict) -> bool:
    """Whether config.loss makes the network's prediction a sample of the data instead of their mean."""
    return loss_function(config) in (losses.consistency, losses.continuous_consistency)


def has_curriculum(config: ConfigDict) -> bool:
    """Whether config.loss depends on how much of the training is done, and so on the number of its steps."""
    return training.takes(loss_function(config), "progress")


def check_flow_map(config: ConfigDict, schedule: Schedule, parameterization: processes.Parameterization) -> None:
    """Raises ValueError for a loss of flow maps under a parameterization whose flow map from 0 to 0 is no identity."""
    divisor = parameterization.divides_by
    if divisor is None or not (is_consistency(config) or SPAN in told_by_loss(config)):
        return
    if float(getattr(schedule, divisor)(0.0)) == 0:
        raise ValueError(
            f"loss {config.loss.name!r} needs a flow map that is the identity at t = s = 0, and that of "
            f"{type(parameterization).__name__} divides by {divisor}, which is 0 there: use V, FlowVelocity or Edm"
        )


def check_teacher(config: ConfigDict) -> None:
    """Raises ValueError for settings of a distillation that do not go together."""
    options, chosen = config.loss, loss_function(config)
    if options.teacher is not None and not training.takes(chosen, "teacher"):
        raise ValueError(f"loss.teacher is for losses with a regression target, and {options.name!r} has none")
    if options.teacher is not None and options.stable_targets:
        raise ValueError("loss.teacher and loss.stable_targets are both the regression target: set one of them")
    asked = [f"teacher_guidance = {options.teacher_guidance:g}"] if options.teacher_guidance != 1 else []
    asked += ["solver = 'heun'"] if options.get("solver") == "heun" else []
    if asked and options.teacher is None:
        raise ValueError(
            f"loss.{asked[0]} is distillation without a teacher: set loss.teacher to the directory of a run"
        )


def loss(
    config: ConfigDict, network: Network, time_input: denoisers.TimeInput, num_levels: int | None = None
) -> training.BatchLoss:
    """The loss of a batch under the network, config.loss, with conditions dropped for classifier-free guidance.

    num_levels: of the data; None for points.
    """
    chosen = choices.make("loss", config.loss, LOSS_SLOT)
    if training.takes(chosen, "num_levels"):
        chosen = functools.partial(chosen, num_levels=None if config.data.dequantize else num_levels)
    has_labels, label = training.takes(chosen, "labels"), class_condition(network.conditions)
    others = [name for name in network.conditions if name != label]
    if has_labels and others:
        raise ValueError(
            f"loss {config.loss.name!r} compares samples under the same condition, which only classes are, and this "
            f"network is told {', '.join(others)}"
        )
    guided = training.takes(chosen, "unconditional") and len(config.conditions) > 0
    return training.make_loss(
        network,
        time_input=time_input,
        loss=chosen,
        condition_names=tuple(network.conditions),
        drop_condition=build_conditions.dropping(config, network.conditions),
        class_condition=label if has_labels else None,
        needs_representation=training.takes(chosen, "representation"),
        unconditional=build_conditions.nulling(config, network.conditions) if guided else None,
    )


def check_loss(config: ConfigDict, num_levels: int | None, channels: int, out_channels: int) -> None:
    """Raises ValueError for a config.loss that does not go with the data or the network.

    Args:
      num_levels: of the data; None for points.
      channels, out_channels: of the data and of the network's raw output.
    """
    chosen, name = loss_function(config), config.loss.name
    if "decoder" in config.loss:
        losses.decoder_levels(config.loss.decoder, None if config.data.dequantize else num_levels)
    if config.loss.stable_targets and not training.takes(chosen, "teacher"):
        raise ValueError(f"loss.stable_targets is for losses with a regression target, and {name!r} has none")
    if losses.is_one_step(chosen) and config.train.accumulate != 1:
        raise ValueError(
            f"loss {name!r} compares a whole batch with data, which parts of it are not: set train.accumulate=1, got "
            f"{config.train.accumulate}"
        )
    if config.noise.name != "normal" and not training.takes(chosen, "noise"):
        raise ValueError(f"loss {name!r} is of normal noise, got noise {config.noise.name!r}: use loss 'denoising'")
    never = [key for key, entry in config.conditions.items() if entry.drop == 0 and config.model.drop_together == 0]
    if guides(config) and (never or not config.conditions):
        what = f"conditions.{never[0]}.drop is 0" if never else "this model is told nothing (conditions)"
        raise ValueError(
            f"loss {name!r} with guidance (omega, kappa, max_scale) learns the prediction without conditions too, and "
            f"{what}: give the network conditions that are dropped now and then, or set these options back"
        )
    if learns_variance(config) and out_channels != 2 * channels:
        raise ValueError(
            f"loss {name!r} trains a variance, for which a network has twice the channels of the data; this one has "
            f"{out_channels} for {channels}: use a network with out_channels, such as unet, or loss 'denoising'"
        )
    if not learns_variance(config) and out_channels == 2 * channels:
        raise ValueError(
            f"loss {name!r} trains no variance, and this network has twice the channels of the data for one: use loss "
            "'hybrid' or 'variational_bound'"
        )
    if out_channels not in (channels, 2 * channels):
        raise ValueError(
            f"the network has {out_channels} channels of output for {channels} of the data: give it out_channels, as "
            "unet has it, which is set to what is needed"
        )


def reference_data(config: ConfigDict, network: Network, examples: Examples) -> np.ndarray | None:
    """The training data whose exact denoiser is the regression target, where config.loss.stable_targets asks for it."""
    if not config.loss.stable_targets:
        return None
    told = [name for name in network.conditions if name in config.conditions]
    if told:
        raise ValueError(
            f"loss.stable_targets is for networks without conditions, and this one is told {', '.join(told)}"
        )
    dataset = in_memory("loss.stable_targets", examples)
    if config.train.batch_size * dataset.examples.size > MOST_DIFFERENCES:
        raise ValueError(
            "loss.stable_targets compares a batch with all training data, and "
            f"{config.train.batch_size} x {len(dataset):,} examples of {np.prod(dataset.shape)} numbers are more than "
            f"{MOST_DIFFERENCES:,}: set loss.stable_targets=False, or a smaller batch"
        )
    return dataset.to_network_range(dataset.examples)


def check_learning_rate(config: ConfigDict) -> None:
    """Raises ValueError unless the learning rate is positive."""
    if not config.optimizer.learning_rate > 0:
        raise ValueError(f"optimizer.learning_rate must be > 0, got {config.optimizer.learning_rate}")


def check_learned(config: ConfigDict, hyperparameters: training.Hyperparameters) -> None:
    """Raises ValueError for a learned schedule under a loss whose mean depends on it: it would learn to hide errors."""
    if not any(name.startswith("schedule") for name in training.learned.parts(hyperparameters)):
        return
    weighting, density = hyperparameters.weighting, hyperparameters.time_density
    density = density.density if isinstance(density, time_sampling.Stratified) else density
    needs = "schedule 'learned' needs a loss that does not depend on the schedule between its ends"
    if config.loss.name != "denoising":
        raise ValueError(f"{needs}: set loss to denoising, got {config.loss.name!r}")
    if not isinstance(weighting, losses.weighting.Variational | losses.weighting.Sigmoid):
        raise ValueError(f"{needs}: set loss.weighting to variational or sigmoid, got {type(weighting).__name__}")
    if isinstance(density, time_sampling.LogNormalSigma | importance_sampling.Adaptive):
        raise ValueError(
            "schedule 'learned' needs training times that follow neither noise levels nor losses: set "
            f"loss.time_density to uniform, got {type(density).__name__}"
        )


def mesh(config: ConfigDict, devices: Any = None) -> Mesh:
    """config.mesh over all devices or these, refused where they cannot share config.train.batch_size evenly."""
    result = sharding.make_mesh(config.mesh.data, config.mesh.fsdp, devices=devices)
    if result.size > 1 and config.train.coupling.name == "exact":
        raise ValueError(
            f"train.coupling = 'exact' is computed on the host of one device, and there are {result.size}: use sinkhorn"
        )
    sharding.check_batch(result, config.train.batch_size, config.train.accumulate)
    return result
