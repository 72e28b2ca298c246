"""From a config to objects: the only place where a string names a thing.

Every function raises ValueError with one line that says what was expected, what came and what is valid.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffax import data, denoisers, losses, networks, processes, samplers, schedules, sharding, training
from diffax.build_data import Examples as Examples
from diffax.build_data import batches as batches
from diffax.build_data import dataset as dataset
from diffax.build_data import is_resident as is_resident
from diffax.build_data import sharded as sharded
from diffax.build_data import view as view
from diffax.denoisers import time_inputs
from diffax.processes import time_sampling
from diffax.typing import Denoiser, Schedule

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
WEIGHTINGS = {
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
}
# Every training step measures a batch against all of the data, number by number: 1 GB of differences at most.
MOST_DIFFERENCES = 250_000_000
TIME_DENSITIES = {
    "uniform": time_sampling.Uniform,
    "discrete_uniform": time_sampling.DiscreteUniform,
    "logit_normal": time_sampling.LogitNormal,
    "log_normal_sigma": time_sampling.LogNormalSigma,
}
_TIME_INPUTS = {
    "index": time_inputs.index,
    "scaled": time_inputs.scaled,
    "quarter_log_sigma": time_inputs.quarter_log_sigma,
    "log_snr": time_inputs.log_snr,
}
_NETWORKS = {"unet": networks.UNet, "mlp": networks.MLP}
_SNAPSHOT_DTYPES = {"float32": np.float32, "float16": np.float16}
_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
_REMAT = {"none": None, "products": networks.remat.products, "blocks": networks.remat.nothing}
# Each sampler with the settings of config.sampler that it reads; one that is None leaves the sampler its own default.
SAMPLERS: dict[str, tuple[Callable[..., samplers.SamplerTable], tuple[str, ...]]] = {
    "ddim": (samplers.ddim, ("eta",)),
    "ddpm": (samplers.ddpm, ("variance",)),
    "euler": (samplers.euler, ()),
    "euler_ancestral": (functools.partial(samplers.ddim, eta=1.0), ()),
    "euler_maruyama": (samplers.euler_maruyama, ()),
    "heun": (samplers.heun, ("form",)),
    "midpoint": (samplers.midpoint, ("form",)),
    "edm": (samplers.edm, ("churn",)),
    "adams": (samplers.adams, ("order", "form")),
    "dpm_solver": (samplers.dpm_solver, ("order", "form")),
    "dpm_solver_multistep": (samplers.dpm_solver_multistep, ("order", "form", "weights", "tau")),
    "unipc": (samplers.unipc, ("order", "form")),
    "sa_solver": (samplers.sa_solver, ("form", "weights", "tau")),
    "lms": (samplers.lms, ("order",)),
    "ipndm": (samplers.ipndm, ("order",)),
    "pndm": (samplers.pndm, ()),
    "consistency": (samplers.consistency, ()),
}
# Each optimizer with the settings of config.optimizer that it reads.
_OPTIMIZERS: dict[str, tuple[Callable[..., optax.GradientTransformation], tuple[str, ...]]] = {
    "adam": (training.adam, ("b1", "b2", "eps", "moment_dtype", "weight_decay", "max_grad_norm")),
    "muon": (
        training.muon,
        ("momentum", "b1", "b2", "eps", "moment_dtype", "weight_decay", "max_grad_norm"),
    ),
}
_GRIDS = ("uniform", "log_snr", "karras", *samplers.grids.SPACINGS)


def schedule(config: ConfigDict) -> Schedule:
    """config.schedule: a name of the table above with its options; shift and zero_terminal_snr are for all."""
    spec = dict(config.schedule)
    shift, zero_terminal = spec.pop("shift", 0.0), spec.pop("zero_terminal_snr", False)
    built = _make("schedule", spec, SCHEDULES)
    if zero_terminal:
        if not isinstance(built, schedules.Discrete):
            raise ValueError(f"schedule.zero_terminal_snr is for discrete schedules, got {spec['name']!r}")
        built = built.zero_terminal_snr()
    return schedules.Shifted(built, shift) if shift else built


def parameterization(config: ConfigDict, dataset: Examples) -> processes.Parameterization:
    """config.parameterization, with what follows from the data."""
    spec = dict(config.parameterization)
    if spec["name"] == "edm_gaussian":
        spec["data"] = dataset.to_network_range(_in_memory("parameterization 'edm_gaussian'", dataset).examples)
    return _make("parameterization", spec, PARAMETERIZATIONS)


def numbers(config: ConfigDict, dataset: Examples) -> training.Numbers:
    """Everything of a run's mathematics that its training step takes as numbers."""
    density = _make("loss.time_density", dict(config.loss.time_density), TIME_DENSITIES)
    if not config.optimizer.learning_rate > 0:
        raise ValueError(f"optimizer.learning_rate must be > 0, got {config.optimizer.learning_rate}")
    return training.Numbers(
        learning_rate=config.optimizer.learning_rate,
        averagings=averagings(config),
        schedule=schedule(config),
        parameterization=parameterization(config, dataset),
        weighting=_make("loss.weighting", dict(config.loss.weighting), WEIGHTINGS),
        time_density=time_sampling.Stratified(density) if config.loss.stratified else density,
    )


def averagings(config: ConfigDict) -> tuple[training.ema.Averaging, ...]:
    """config.ema, in the order of its kinds."""
    options = config.ema
    if not 0 <= options.decay < 1:
        raise ValueError(f"ema.decay must be in [0, 1), got {options.decay}")
    if not (options.half_life > 0 and options.ramp_up > 0):
        raise ValueError(f"ema.half_life and ema.ramp_up must be > 0, got {options.half_life} and {options.ramp_up}")
    kinds: dict[str, Callable[[], tuple[training.ema.Averaging, ...]]] = {
        "constant": lambda: (training.ema.Constant(options.decay),),
        "half_life": lambda: (training.ema.HalfLife(options.half_life, options.ramp_up),),
        "power": lambda: tuple(training.ema.Power.of_length(length) for length in options.lengths),
    }
    made = tuple(averaging for kind in options.kinds for averaging in _choose("ema.kinds", kind, kinds)())
    if not made:
        raise ValueError("ema.kinds must name one average at least, such as ('constant',)")
    if options.snapshot_every < 0 or (options.snapshot_every and "power" not in options.kinds):
        raise ValueError(
            f"ema.snapshot_every = {options.snapshot_every} needs a power-function average: ema.kinds = ('power',)"
        )
    snapshot_dtype(config)
    return made


def snapshot_dtype(config: ConfigDict) -> Any:
    """What averages are stored in."""
    return _choose("ema.snapshot_dtype", config.ema.snapshot_dtype, _SNAPSHOT_DTYPES)


def network(config: ConfigDict, dataset: Examples) -> nn.Module:
    """config.model, with what follows from the data."""
    spec = dict(config.model)
    for key in ("time_input", "label_drop"):
        spec.pop(key)
    spec["dtype"] = compute_dtype(config)
    if "remat" in spec:
        spec["remat"] = _choose("model.remat", spec["remat"], _REMAT)
    if config.data.augment == "geometric":
        if "context_dim" not in spec:
            raise ValueError(f"data.augment = 'geometric' is for the unet, got model.name = {spec['name']!r}")
        spec["context_dim"] = data.augment.NUM_GEOMETRIC
    if spec.pop("class_conditional"):
        if dataset.num_classes is None:
            raise ValueError(f"model.class_conditional needs labels, and {dataset.name} has none")
        spec["num_classes"] = dataset.num_classes
    return _make("model", spec, _NETWORKS)


def compute_dtype(config: ConfigDict) -> Any:
    """What a network computes in."""
    return _choose("model.dtype", config.model.dtype, _DTYPES)


def time_input(config: ConfigDict) -> denoisers.network.TimeInput:
    """config.model.time_input, refused where the schedule cannot give it."""
    chosen = _choose("model.time_input", config.model.time_input, _TIME_INPUTS)
    chosen(schedule(config), np.ones(1))
    return chosen


def loss(config: ConfigDict, module: nn.Module, dataset: Examples) -> training.BatchLoss:
    """The training loss of a network."""
    reference = _reference(config, module, dataset) if config.loss.stable_targets else None
    return _loss(config, module, reference)


def held_out_loss(config: ConfigDict, module: nn.Module) -> training.BatchLoss:
    """The loss that tells how well a network does on data it was not trained with, whatever its targets were."""
    return _loss(config, module, None)


def _reference(config: ConfigDict, module: nn.Module, dataset: Examples) -> np.ndarray:
    if getattr(module, "num_classes", None) is not None:
        raise ValueError(
            "loss.stable_targets is for networks that are told no labels: set model.class_conditional=False"
        )
    dataset = _in_memory("loss.stable_targets", dataset)
    differences = config.train.batch_size * dataset.examples.size
    if differences > MOST_DIFFERENCES:
        raise ValueError(
            "loss.stable_targets compares a batch with all training data, and "
            f"{config.train.batch_size} x {len(dataset):,} examples of {np.prod(dataset.shape)} numbers are more than "
            f"{MOST_DIFFERENCES:,}: set loss.stable_targets=False, or a smaller batch"
        )
    return dataset.to_network_range(dataset.examples)


def _in_memory(what: str, examples: Examples) -> data.dataset.Dataset:
    if not isinstance(examples, data.dataset.Dataset):
        raise ValueError(f"{what} needs the data in memory: raise data.cache_gb")
    return examples


def _loss(config: ConfigDict, module: nn.Module, reference: np.ndarray | None) -> training.BatchLoss:
    num_classes, drop = getattr(module, "num_classes", None), config.model.label_drop
    if not 0 <= drop <= 1:
        raise ValueError(f"model.label_drop must be in [0, 1], got {drop}")
    return training.make_loss(
        networks.apply_fn(module),
        time_input=time_input(config),
        condition_names=(("label",) if num_classes is not None else ())
        + (("context",) if config.data.augment == "geometric" else ()),
        drop_condition=_dropping_labels(num_classes, drop),
        reference=reference,
    )


def _dropping_labels(num_classes: int | None, probability: float) -> training.DropCondition | None:
    """Labels are dropped for guidance; what augmentation did to an image is always told."""
    if num_classes is None:
        return None

    def drop(keys: jax.Array, condition: networks.Condition) -> networks.Condition:
        label = {"label": condition["label"]}
        return condition | (networks.drop_condition(keys, label, num_classes, probability) or {})

    return drop


def optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """config.optimizer, but for the learning rate."""
    constructor, settings = _choose("optimizer.name", config.optimizer.name, _OPTIMIZERS)
    given = {name: config.optimizer[name] for name in settings}
    return constructor(**given | {"moment_dtype": _choose("optimizer.moment_dtype", given["moment_dtype"], _DTYPES)})


def init_state(
    config: ConfigDict, module: nn.Module, dataset: Examples, numbers: training.Numbers
) -> training.TrainState:
    """The state before training, of packed parameters. Run it under jit or eval_shape."""

    def init_params(key: jax.Array) -> networks.Params:
        return networks.packed.pack(networks.init_params(module, key, dataset.shape))

    return training.init_state(config.seed, init_params, optimizer(config), numbers)


def mesh(config: ConfigDict, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """config.mesh over all devices or these, refused where they cannot share config.train.batch_size evenly."""
    made = sharding.make_mesh(config.mesh.data, config.mesh.fsdp, devices=devices)
    sharding.check_batch(made, config.train.batch_size, config.train.accumulate)
    return made


def learning_rate_shape(config: ConfigDict) -> training.LearningRateShape:
    """Warm-up and decay of config.optimizer over config.train.num_steps."""
    options = config.optimizer
    return training.learning_rate_shape(
        config.train.num_steps,
        warmup_steps=options.warmup_steps,
        decay=options.decay,
        final_fraction=options.final_fraction,
    )


def sampler_table(config: ConfigDict, parameterization: processes.Parameterization) -> samplers.SamplerTable:
    """config.sampler on the run's schedule: num_steps steps from start to end; those of heun and the like call twice.

    A schedule that ends at sigma_min gets a last row down to 0.
    """
    options, used = config.sampler, schedule(config)
    constructor, settings = _choose("sampler.name", options.name, SAMPLERS)
    if options.num_steps < 1:
        raise ValueError(f"sampler.num_steps must be >= 1, got {options.num_steps}")
    to_zero = float(used.sigma(options.end)) > 0 and options.grid not in samplers.grids.SPACINGS
    if to_zero and options.num_steps < 2:
        raise ValueError("sampler.num_steps must be >= 2 where the last step goes from sigma_min to 0, got 1")
    times = _times(options, used, options.num_steps - 1 if to_zero else options.num_steps)
    given = {name: options[name] for name in settings if options[name] is not None}
    table = constructor(used, times, to_zero=to_zero, **given)
    processes.refuse_singular(parameterization, used, table.times)
    return table


def check_denoiser(config: ConfigDict, module: nn.Module) -> None:
    """Raises ValueError for a config.sampler that this network's denoiser cannot follow."""
    guidance, epsilon = config.sampler.guidance_scale, config.sampler.epsilon_scale
    if guidance != 1 and getattr(module, "num_classes", None) is None:
        raise ValueError(
            f"sampler.guidance_scale = {guidance:g} needs a class-conditional model; this one has no classes"
        )
    if not epsilon > 0:
        raise ValueError(f"sampler.epsilon_scale must be > 0 (1 for none, 1.005 to 1.015 are usual), got {epsilon:g}")


def denoiser(
    config: ConfigDict,
    module: nn.Module,
    parameterization: processes.Parameterization,
    params: Any,
    condition: networks.Condition | None = None,
) -> Denoiser:
    """The denoiser of a network's parameters, guided and epsilon-scaled where config.sampler asks for it."""
    check_denoiser(config, module)
    told: dict[str, Any] = {"time_input": time_input(config), "condition": condition}
    network: tuple[Any, ...] = (networks.apply_fn(module), params, schedule(config), parameterization)
    guidance, epsilon = config.sampler.guidance_scale, config.sampler.epsilon_scale
    if guidance == 1:
        made: Denoiser = denoisers.from_network(*network, **told)
    else:
        null = networks.null_condition(condition, getattr(module, "num_classes", None))
        made = denoisers.guided_network(*network, null_condition=null, scale=guidance, **told)
    return made if epsilon == 1 else denoisers.epsilon_scaled(made, schedule(config), epsilon)


def _times(options: ConfigDict, used: Schedule, num_steps: int) -> np.ndarray:
    grid = options.grid
    if grid in samplers.grids.SPACINGS:
        if not isinstance(used, schedules.Discrete):
            raise ValueError(f"sampler.grid {grid!r} needs a discrete schedule; use uniform, log_snr or karras")
        return samplers.grids.discrete(used.num_steps, num_steps, grid)
    if grid == "uniform":
        return samplers.grids.uniform(num_steps, start=options.start, end=options.end)
    make = {"log_snr": samplers.grids.log_snr, "karras": samplers.grids.karras}.get(grid)
    if make is None:
        raise ValueError(f"sampler.grid must be one of {', '.join(_GRIDS)}, got {grid!r}")
    return make(used, num_steps, start=options.start, end=options.end)


def _choose(what: str, name: str, table: Mapping[str, Any]) -> Any:
    if name not in table:
        raise ValueError(f"{what} must be one of {', '.join(table)}, got {name!r}")
    return table[name]


def _make(what: str, spec: dict[str, Any], table: Mapping[str, Callable[..., Any]]) -> Any:
    """table[spec["name"]](**the other entries), with the names of options checked."""
    options = {name: value for name, value in spec.items() if name != "name"}
    constructor = _choose(f"{what}.name", spec["name"], table)
    known = set(inspect.signature(constructor).parameters) - {"parent", "name"}
    unknown = sorted(set(options) - known)
    if unknown:
        valid = ", ".join(sorted(known)) or "none at all"
        raise ValueError(f"{what} {spec['name']!r} has no option {', '.join(unknown)}, but {valid}")
    return constructor(**options)
