"""The model of a run: what its configuration and its data determine, apart from the parameters.

Training makes the parameters of a model; sampling and evaluation use them. All share the objects built here.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import diffax
from diffax import (
    build,
    build_conditions,
    build_sampler,
    build_training,
    conditions,
    denoisers,
    losses,
    processes,
    resolve,
    samplers,
    training,
)
from diffax.conditions import Conditions, Kind
from diffax.data import dataset
from diffax.data.examples import Examples
from diffax.data.fingerprint import fingerprint
from diffax.reporting import atomic
from diffax.runs import kept
from diffax.runs.errors import UserError, for_people
from diffax.typing import Denoiser, Network, Schedule

FILENAME, MOMENTS = "model.json", "moments.npz"
# Of run directories: raised when they change so that older ones cannot be read.
FORMAT = 3
_STORED = ("sample_shape", "num_classes", "num_levels", "class_names", "fingerprint")


@dataclasses.dataclass(frozen=True)
class DataDescription:
    """What a model takes from its training data; a run keeps it, so that the data are not needed afterwards.

    sample_shape: of one example. num_classes: None for data without labels. num_levels: how many values a pixel can
    take; None for points. class_names: by number; None where classes have no names. moments: mean and covariance, where
    the parameterization needs them. kinds: of the conditions by name. encoders: name and version of the encoders of
    texts, by the name of the condition. fingerprint: see `data.fingerprint`; None in runs from before there was one.
    """

    name: str
    sample_shape: tuple[int, ...]
    num_classes: int | None = None
    num_levels: int | None = None
    moments: processes.Moments | None = None
    class_names: tuple[str, ...] | None = None
    fingerprint: dict[str, Any] | None = None
    kinds: Mapping[str, Kind] = dataclasses.field(default_factory=dict)
    encoders: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, config: ConfigDict, examples: Examples) -> "DataDescription":
        """The description of the examples that config.data gave."""
        moments = None
        if build.needs_moments(config):
            whole = dataset.in_memory(f"parameterization {config.parameterization.name!r}", examples)
            moments = processes.moments(whole.to_network_range(whole.examples))
        shape, names = tuple(examples.shape), examples.class_names
        return cls(
            name=examples.name,
            sample_shape=shape,
            num_classes=examples.num_classes,
            num_levels=examples.num_levels,
            moments=moments,
            class_names=names,
            fingerprint=fingerprint(examples),
            kinds=build_conditions.kinds(config, examples) | build_training.told_by_loss(config),
            encoders=build_conditions.encoders(config),
        )

    def write(self, directory: pathlib.Path) -> None:
        """Writes the description to a run directory."""
        record = {"format": FORMAT, "diffax": diffax.__version__, "data": self.name}
        record |= {name: getattr(self, name) for name in _STORED}
        record["conditions"] = {name: conditions.to_json(kind) for name, kind in self.kinds.items()}
        record["encoders"] = dict(self.encoders)
        if self.moments is not None:
            with atomic.replacing(directory / MOMENTS) as file:
                np.savez(file, allow_pickle=False, **self.moments._asdict())
        with atomic.replacing(directory / FILENAME) as file:
            file.write((json.dumps(record, indent=2) + "\n").encode())

    @classmethod
    def read(cls, directory: pathlib.Path) -> "DataDescription":
        """The description in a run directory.

        Raises:
          UserError: there is none, or one that cannot be read.
        """
        path = directory / FILENAME
        try:
            record = json.loads(path.read_text())
            moments = None
            if (directory / MOMENTS).exists():
                with np.load(directory / MOMENTS, allow_pickle=False) as arrays:
                    moments = processes.Moments(**{name: arrays[name] for name in processes.Moments._fields})
            shape = tuple(record["sample_shape"])
            names = record.get("class_names")  # a run may be without them
            return cls(
                name=record["data"],
                sample_shape=shape,
                num_classes=record["num_classes"],
                num_levels=record["num_levels"],
                moments=moments,
                class_names=None if names is None else tuple(names),
                fingerprint=record.get("fingerprint"),
                kinds={name: conditions.from_json(kind) for name, kind in record["conditions"].items()},
                encoders=record["encoders"],
            )
        except FileNotFoundError:
            raise UserError(f"--workdir {directory} has no checkpoint yet: train it first (--mode train)") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read ({error}): restore it from a copy of the run") from error


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """Network, noise schedule and parameterization of a resolved configuration, for data of a description."""

    config: ConfigDict
    data: DataDescription
    network: Network
    schedule: Schedule
    parameterization: processes.Parameterization
    noise: processes.Noise
    time_input: denoisers.TimeInput

    @classmethod
    def build(cls, config: ConfigDict, data: DataDescription) -> "Model":
        """Builds and checks the model of a configuration.

        Raises:
          ValueError: anything in the configuration that does not go together.
        """
        config = resolve.resolve(config)
        schedule = build.schedule(config)
        model = cls(
            config=config,
            data=data,
            network=build.network(config, data.sample_shape, data.kinds),
            schedule=schedule,
            parameterization=build.parameterization(config, data.moments),
            noise=build.noise(config),
            time_input=build.time_input(config, schedule),
        )
        model.check_sampler()
        build_training.check_loss(config, data.num_levels, data.sample_shape[-1], model.output_shape[-1])
        build_training.check_flow_map(config, schedule, model.parameterization)
        build_training.check_teacher(config)
        return model

    def check_sampler(self) -> None:
        """Raises ValueError for a config.sampler that this model cannot follow."""
        build_sampler.check_denoiser(self.config, self.network)
        table = self.sampler_table()
        if table.targets is not None and conditions.SPAN not in self.network.conditions:
            raise ValueError(
                f"sampler {self.config.sampler.name!r} needs a network of two times, which a loss such as mean_flow "
                "trains; this one is of one time: use ddim"
            )
        if build_training.is_one_step(self.config) and table.num_evaluations > 1:
            raise ValueError(
                f"loss {self.config.loss.name!r} trains a generator of one evaluation, at t = 1: set "
                f"sampler.num_steps=1 with a sampler of one evaluation, such as ddim, got {table.num_evaluations}"
            )
        of_two_times = conditions.SPAN in self.network.conditions
        if build_training.is_one_step(self.config) and of_two_times and table.targets is None:
            raise ValueError(
                f"loss {self.config.loss.name!r} with two_times trains a network of two times: set "
                f"sampler.name=flow_map, got {self.config.sampler.name!r}"
            )
        # Traces the network, whose own checks of shapes speak here.
        out, channels = self.output_shape, self.data.sample_shape[-1]
        if table.c_large is not None and out[-1] != 2 * channels:
            raise ValueError(
                f"sampler {self.config.sampler.name!r} needs a network with learned variance, of twice the channels of "
                f"the data; this one has {out[-1]} for {channels}: use ddpm"
            )

    @functools.cached_property
    def loss(self) -> training.BatchLoss:
        """The training loss, of plain parameters."""
        return build_training.loss(self.config, self.network, self.time_input, self.data.num_levels)

    @functools.cached_property
    def hyperparameters(self) -> training.Hyperparameters:
        """The hyperparameters of training, with the usual regression target."""
        build_training.check_learning_rate(self.config)
        hyperparameters = training.Hyperparameters(
            learning_rate=self.config.optimizer.learning_rate,
            averagings=tuple(build_training.averagings(self.config).values()),
            schedule=self.schedule,
            parameterization=self.parameterization,
            weighting=build.weighting(self.config),
            time_density=build.time_density(self.config),
            noise=self.noise,
        )
        build_training.check_learned(self.config, hyperparameters)
        return hyperparameters

    @functools.cached_property
    def init_params(self) -> Callable[[jax.Array], Any]:
        """A function from a key to initial parameters.

        It is traced once for all that is made of it: the shapes of outputs and of states, and the program that draws.
        """

        def init_params(key: jax.Array) -> Any:
            return self.network.init(key, self.input_shape)

        return jax.jit(init_params)

    @functools.cached_property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of what the network is given of one sample."""
        x, t = (jax.ShapeDtypeStruct(shape, jax.numpy.float32) for shape in ((1, *self.data.sample_shape), (1,)))
        return jax.eval_shape(lambda x, t: self.parameterization.network_input(self.schedule, x, t), x, t).shape[1:]

    @functools.cached_property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the network's raw output for one sample."""

        def output(key: jax.Array) -> jax.Array:
            x = jax.numpy.zeros((1, *self.input_shape))
            return self.network(self.init_params(key), x, jax.numpy.zeros(1), None)

        def traced() -> tuple[int, ...]:
            return jax.eval_shape(output, jax.random.key(0)).shape[1:]

        return kept.value(("output shape", self.config, self.data), traced)

    def with_config(self, config: ConfigDict) -> "Model":
        """This model under a configuration that differs in its sampler alone."""
        return self._with(config=resolve.resolve(config))

    def with_learned(self, parameters: training.learned.Parameters) -> "Model":
        """This model with the parameters of what is learned beside the network, such as its noise schedule."""
        hyperparameters = training.learned.applied(self.hyperparameters, {"parameters": parameters})
        return self._with(
            schedule=hyperparameters.schedule,
            parameterization=hyperparameters.parameterization,
            hyperparameters=hyperparameters,
        )

    def with_representation(self, representation: losses.Representation) -> "Model":
        """This model with the features in which its loss compares generated samples with data."""
        return self._with(hyperparameters=dataclasses.replace(self.hyperparameters, representation=representation))

    def _with(self, hyperparameters: training.Hyperparameters | None = None, **changes: Any) -> "Model":
        """A copy with this model's loss and hyperparameters: a loss of its own would be compiled anew."""
        model = dataclasses.replace(self, **changes)
        # Where cached_property keeps what it has made.
        vars(model).update(loss=self.loss, hyperparameters=hyperparameters or self.hyperparameters)
        return model

    def sampler_table(self) -> samplers.SamplerTable:
        """config.sampler as a table."""
        return build_sampler.sampler_table(self.config, self.schedule, self.parameterization)

    def denoiser(
        self,
        params: Any,
        condition: Conditions | None = None,
        *,
        negative: Conditions | None = None,
        others: Sequence[tuple[Conditions, float]] = (),
    ) -> Denoiser:
        """The denoiser of parameters, with the guidance and thresholding of config.sampler (build_sampler.denoiser)."""
        return build_sampler.denoiser(
            self.config,
            self.network,
            self.schedule,
            self.parameterization,
            params,
            condition,
            time_input=self.time_input,
            negative=negative,
            others=others,
        )

    def labels(self, num_samples: int, label: int | str | None = None) -> np.ndarray | None:
        """Labels to sample by: the class given by its name or number, or each class in turn; None without classes.

        Raises:
          UserError: a label the model does not have, or a label for a model without classes.
        """
        num_classes = self.num_classes
        if num_classes is None:
            if label is not None:
                raise UserError(f"--label {label} needs a class-conditional model; this one has no classes")
            return None
        if label is None:
            return np.arange(num_samples, dtype=np.int32) % num_classes
        with for_people():
            number = dataset.class_number("--label", label, num_classes, self.class_names)
        return np.full(num_samples, number, np.int32)

    @property
    def class_condition(self) -> str | None:
        """The name of the condition that is a class; None for a model that is told none."""
        return conditions.class_condition(self.network.conditions)

    @property
    def num_classes(self) -> int | None:
        """The number of classes that samples may be asked for; None for a model that is told none."""
        name = self.class_condition
        return None if name is None else self.network.conditions[name].num

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes of the data; None where they have none, or are not those of the condition."""
        return self.data.class_names if self.data.num_classes == self.num_classes else None
