"""One compiled training step for several points: their states stacked, and split over the devices.

Every device trains its share of the points and needs no other's. On accelerators the points of a device are one batch
of the program (jax.vmap). On CPUs they follow each other within it (jax.lax.map): the matrices of one point at a time
stay in the cache, and eight steps of an MLP take 0.8 of the processor time that they take under vmap.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from diffax import build_data, build_training, sharding, training
from diffax.data import device_dataset, pipeline
from diffax.data.device_dataset import DeviceDataset
from diffax.data.examples import Examples
from diffax.runs import packing
from diffax.runs.model import Model
from diffax.runs.program import initializer

_POINTS = "points"


@dataclasses.dataclass(frozen=True, eq=False)
class SharedStep:
    """The training step of models that share a program (sweeps.programs), on their common examples.

    Its arrays have a first axis of points. Where their number is no multiple of the number of devices, the last point
    fills up the axis.
    """

    models: Sequence[Model]
    examples: Examples

    @functools.cached_property
    def mesh(self) -> Mesh:
        """The devices that points are split over."""
        num_devices = min(jax.device_count(), len(self.models))
        return jax.make_mesh(
            (num_devices,), (_POINTS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:num_devices]
        )

    @functools.cached_property
    def padded(self) -> list[Model]:
        """The models, the last one repeated to a multiple of the number of devices."""
        num = -(-len(self.models) // self.mesh.size) * self.mesh.size
        return [*self.models, *[self.models[-1]] * (num - len(self.models))]

    def init(self) -> training.TrainState:
        """The states before training, each what it is alone."""
        # As in runs.program: optimizing the program that draws parameters takes longer than training's first steps.
        options = {"xla_backend_optimization_level": 0}
        init = jax.jit(jax.vmap(self._init), out_shardings=self._split, compiler_options=options)
        return init(self._seeds(), self._hyperparameters())

    def like(self, mesh: Mesh) -> dict[str, Any]:
        """What the checkpoint of one point holds, as shapes on a mesh."""
        state = jax.eval_shape(self._init, np.int32(0), self.models[0].hyperparameters)
        return sharding.placed(mesh, state).saved()

    def continued(self, saved: Sequence[dict[str, Any]]) -> training.TrainState:
        """The states of checkpoints, one for each model, with the hyperparameters of the configurations."""
        hyperparameters = self._hyperparameters()
        like = jax.eval_shape(jax.vmap(self._init), self._seeds(), hyperparameters)
        rows = [*saved, *[saved[-1]] * (len(self.padded) - len(saved))]
        stacked = jax.jit(lambda *rows: jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows))(*rows)
        state = dataclasses.replace(like.with_saved(stacked), hyperparameters=hyperparameters)
        return jax.device_put(state, self._split)

    def step(self) -> Any:
        """(state, batch of `batches`) -> (state, metrics), compiled, with the state donated."""
        model, config = self.models[0], self.models[0].config
        one = training.make_train_step(
            lambda params, *rest: model.loss(packing.unpack(params), *rest),
            build_training.optimizer(config),
            build_training.learning_rate_shape(config),
            preprocess=build_data.preprocess(config, self.examples),
            accumulate=config.train.accumulate,
            num_steps=config.train.num_steps,
        )
        reference = build_training.reference_data(config, model.network, self.examples)
        in_turn_here = in_turn()

        def of_point(shared: tuple[Any, Any], state: training.TrainState, own: Any) -> Any:
            reference, dataset = shared
            batch = own if dataset is None else dataclasses.replace(dataset, order=own)
            # The data that targets are computed from are the same for all points: one copy, and not one for each.
            hyperparameters = dataclasses.replace(state.hyperparameters, reference=reference)
            state, metrics = one(dataclasses.replace(state, hyperparameters=hyperparameters), batch)
            hyperparameters = dataclasses.replace(hyperparameters, reference=None)
            return dataclasses.replace(state, hyperparameters=hyperparameters), metrics

        def of_device(shared: Any, state: training.TrainState, own: Any) -> Any:
            if in_turn_here:
                return jax.lax.map(lambda xs: of_point(shared, *xs), (state, own))
            return jax.vmap(functools.partial(of_point, shared))(state, own)

        everywhere, split = PartitionSpec(), PartitionSpec(_POINTS)
        of_all = jax.shard_map(
            of_device, mesh=self.mesh, in_specs=(everywhere, split, split), out_specs=split, check_vma=False
        )
        jitted = jax.jit(of_all, donate_argnums=1)
        reference = None if reference is None else jax.device_put(reference, NamedSharding(self.mesh, everywhere))
        return lambda state, batch: jitted((reference, batch[0]), state, batch[1])

    def batches(self, start_step: int) -> Iterator[tuple[DeviceDataset | None, Any]]:
        """(data that all points share, the batch or visiting order of each point) of the steps from start_step on."""
        config, seeds = self.models[0].config, [model.config.seed for model in self.padded]
        size = config.train.batch_size
        if not build_data.is_on_device(config, self.examples):
            streams = [pipeline.Pipeline(self.examples, size, seed).batches(start_step) for seed in seeds]
            stacked = map(lambda *rows: jax.tree.map(lambda *x: np.stack(x), *rows), *streams)
            yield from (
                (None, batch) for batch in pipeline.ahead(stacked, lambda batch: jax.device_put(batch, self._split))
            )
            return
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        stay: Any = lambda array: array  # noqa: E731, on the host, to be stacked there
        orders = [device_dataset.batches(self.examples, size, seed, start_step, stay) for seed in seeds]
        shared: dict[str, Any] | None = None
        current: DeviceDataset | None = None
        batch: Any = None
        for row in zip(*orders, strict=True):
            if row[0] is not current:  # one object for as long as its visiting order lasts
                current = row[0]
                order = jax.device_put(np.stack([one.order for one in row]), self._split)
                if shared is None:
                    data = {name: getattr(current, name) for name in ("examples", "labels", "conditions")}
                    shared = jax.device_put(data, everywhere)
                batch = dataclasses.replace(current, **shared, order=None), order
            yield batch

    def row(self, state: training.TrainState, index: int, mesh: Mesh) -> training.TrainState:
        """The state of one point, on the devices of a mesh."""
        return jax.device_put(_row(state, index), sharding.replicated(mesh))

    @property
    def _split(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(_POINTS))

    @functools.cached_property
    def _init(self) -> Callable[[Any, training.Hyperparameters], training.TrainState]:
        return initializer(self.models[0])

    def _seeds(self) -> np.ndarray:
        return np.asarray([model.config.seed for model in self.padded], np.int32)

    def _hyperparameters(self) -> training.Hyperparameters:
        rows = [model.hyperparameters for model in self.padded]
        return jax.tree.map(lambda *numbers: np.stack([np.asarray(number, np.float32) for number in numbers]), *rows)


def in_turn() -> bool:
    """Whether the points of a device follow each other instead of being one batch."""
    return jax.default_backend() == "cpu"


@jax.jit
def _row(state: Any, index: jax.Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], state)
