"""The compiled training step of a model, and the state that it works on, on a mesh of devices."""

import concurrent.futures
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from diffax import allocator, build_data, build_training, sharding, training
from diffax.data.examples import Examples
from diffax.reporting import throughput
from diffax.runs import kept, packing, representation, teachers
from diffax.runs.model import Model

_HEAD_START = 0.3  # seconds
_LARGE = 100_000_000  # bytes; steps with as many temporaries take far longer than it takes to dispatch one
# Steps before which malloc gives back what is free: an array that is allocated beside the first temporaries and stays
# leaves a gap that is too small for the next, which need room for their alignment.
_UNSETTLED = 5
# At level 1 the 36 million of configs/cifar_ddpm.py are drawn in 0.2 s instead of 1.1 s and take 0.8 s more to compile,
# and the 0.7 million of configs/digits.py in 0.01 s instead of 0.03 s and 0.6 s more (two Intel Xeon cores).
_MANY_PARAMS = 10_000_000


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled training step.

    model: with the features of its loss, if any.

    step: jitted, (state, batch) -> (state, metrics), with the state donated; a batch is what build_data.batches gives.
    state: the shapes of the state, and where every array of it is.
    init: what `initializer` makes.
    asked: what step and state depend on, beside the devices (see `kept`).
    """

    model: Model
    mesh: Mesh
    hyperparameters: training.Hyperparameters
    state: training.TrainState
    step: jax.stages.Wrapped
    init: Callable[..., training.TrainState]
    asked: tuple[Any, ...]

    @classmethod
    def build(cls, model: Model, examples: Examples, mesh: Mesh) -> "Program":
        """The training step of a model on examples.

        Raises:
          ValueError: settings of training that do not go together.
        """
        config, model = model.config, representation.attached(model, examples)
        reference = build_training.reference_data(config, model.network, examples)
        hyperparameters = dataclasses.replace(model.hyperparameters, reference=reference, teacher=teachers.of(model))
        optimizer = build_training.optimizer(config)
        step = training.make_train_step(
            _unpacking(model.loss, mesh),
            optimizer,
            build_training.learning_rate_shape(config),
            preprocess=build_data.sharded(build_data.preprocess(config, examples), mesh),
            accumulate=config.train.accumulate,
            num_steps=config.train.num_steps,
        )
        init = initializer(model)
        asked = (model.config, model.data, kept.shapes(hyperparameters))
        shapes = kept.value(("state", *asked), lambda: jax.eval_shape(init, np.int32(0), hyperparameters))
        everywhere = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding.replicated(mesh)),
            shapes.hyperparameters,
        )
        state = dataclasses.replace(sharding.placed(mesh, shapes), hyperparameters=everywhere)
        jitted = jax.jit(step, donate_argnums=0, out_shardings=(_shardings(state), sharding.replicated(mesh)))
        return cls(model, mesh, hyperparameters, state, jitted, init, asked)

    @property
    def num_params(self) -> int:
        """How many parameters the network has."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.state.params))

    def init_state(self) -> training.TrainState:
        """The state before training, on the devices of the mesh."""
        # Drawn where it stays: a sharded state need not fit on one device, and one that moved would have the step
        # compiled twice.
        draw = jax.jit(functools.partial(_drawn, self.model), out_shardings=_shardings(self.state.params))
        init = jax.jit(self.init, donate_argnums=2, out_shardings=_shardings(self.state))
        # An argument, so that other seeds compile nothing.
        seed = np.int64(self.model.config.seed)
        # By a program of its own, which configurations share whose networks are the same: that of
        # configs/cifar_ddpm.py takes 3.4 s to compile, and the rest of the state 0.3 s.
        params = self._run_once("parameters", 1 if self.num_params >= _MANY_PARAMS else 0, draw, seed)
        return self._run_once("init", 0, init, seed, self._placed_hyperparameters(), params)

    def _run_once(self, name: str, optimization_level: int, function: jax.stages.Wrapped, *given: Any) -> Any:
        """Calls a function that a start calls once, by a kept program of this XLA optimization level.

        The numbers are the same at every level, and optimizing more would take longer than it saves.
        """
        options: dict[str, Any] = {"xla_backend_optimization_level": optimization_level}
        compiled, _ = kept.program(
            (name, *self.asked),
            self._devices,
            lambda: function.lower(*given),
            lambda lowered: (lowered.compile(options), None),
        )
        return compiled(*given)

    def started_from(self, params: Any) -> training.TrainState:
        """The state before training with other initial parameters, a plain tree, in parameters and averages."""
        state = self.init_state()
        place = jax.jit(packing.pack, out_shardings=_shardings(self.state.params))
        return dataclasses.replace(state, params=place(params), ema=tuple(place(params) for _ in state.ema))

    def continued(self, saved: dict[str, Any]) -> training.TrainState:
        """The state of a checkpoint, on the devices of the mesh, with the hyperparameters of the configuration."""
        return dataclasses.replace(self.state.with_saved(saved), hyperparameters=self._placed_hyperparameters())

    def compile(self, batch: Any) -> tuple[jax.stages.Compiled, float | None]:
        """The step compiled for such a batch, by a former start if there was one, and its `flops`."""
        parts = ("step", kept.shapes(batch), *self.asked)
        compiled = kept.program(parts, self._devices, lambda: self.lower(batch), self._compiled)
        allocator.set_aside()
        return compiled

    def paced(self, compiled: jax.stages.Compiled) -> Callable[..., Any]:
        """The compiled step, which on the CPU returns only when it is done if its temporaries are large.

        XLA's CPU client allocates the temporaries of a step when it is dispatched, although it waits for the step
        before, which has its own. `launch.py` took 4.8 GB for configs/cifar_ddpm.py with batches of 16, of which 1.1 GB
        were temporaries, and took 2.3 GB so, where malloc also gives back the first places that it found for them.

        Later, too, malloc takes another place where something small that stays has come into the former one. What is
        free is given back where the process has grown by more than half of the temporaries.
        """
        temporaries = _temporaries(compiled, self._devices[0].platform)
        if temporaries < _LARGE:
            return compiled
        unsettled, settled = iter(range(_UNSETTLED)), math.inf

        def step(state: Any, batch: Any) -> Any:
            nonlocal settled
            resident = allocator.resident()
            if next(unsettled, None) is not None:
                allocator.give_back()
            elif resident > settled + temporaries / 2:
                allocator.give_back()
                settled = math.inf  # what stays after the next step is in use
            else:
                settled = min(settled, resident)
            return jax.block_until_ready(compiled(state, batch))

        return step

    def lower(self, batch: Any) -> jax.stages.Lowered:
        """The step traced for such a batch, of which only the shapes matter and where it is."""
        return self.step.lower(self.state, batch)

    def _compiled(self, lowered: jax.stages.Lowered) -> tuple[jax.stages.Compiled, float | None]:
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            compiling = thread.submit(lowered.compile)
            # Counting holds Python's lock for a second; the compiler first has to be where it needs none.
            concurrent.futures.wait([compiling], timeout=_HEAD_START)
            flops = self.flops(lowered)
            compiled = compiling.result()
        if _temporaries(compiled, self._devices[0].platform) >= _LARGE:
            # What tracing left serves nothing any more: 0.07 GB for configs/cifar_ddpm.py.
            jax.clear_caches()
        return compiled, flops

    def flops(self, lowered: Any) -> float | None:
        """Operations of one step on all devices, as in `throughput.flops`; lowered: the step."""
        flops = throughput.flops(lowered)
        if flops is None or training.accumulation.unrolled():
            return flops
        return flops * self.model.config.train.accumulate  # the body of a loop is counted once

    def ceiling(self) -> float:
        """Operations per second of matrix products on all devices, in the network's dtype."""
        # The CPU devices of a process share its cores, all of which a product on one of them takes.
        processors = {device.process_index if device.platform == "cpu" else device.id for device in self._devices}
        return len(processors) * throughput.matmul_flops(self.model.config.model.get("dtype", "float32"))

    @property
    def _devices(self) -> list[jax.Device]:
        return list(self.mesh.devices.flat)

    def _placed_hyperparameters(self) -> training.Hyperparameters:
        def place(number: Any, like: jax.ShapeDtypeStruct) -> jax.Array:
            return sharding.from_copies(like.sharding, np.asarray(number, like.dtype))

        return jax.tree.map(place, self.hyperparameters, self.state.hyperparameters)


def initializer(model: Model) -> Callable[..., training.TrainState]:
    """(seed, hyperparameters, packed parameters if they are drawn) to the state before training."""
    optimizer = build_training.optimizer(model.config)

    def init(seed: Any, hyperparameters: training.Hyperparameters, params: Any = None) -> training.TrainState:
        params = _drawn(model, seed) if params is None else params
        return training.init_state(seed, lambda key: params, optimizer, hyperparameters)

    return init


def _drawn(model: Model, seed: Any) -> Any:
    """Initial parameters, packed."""
    return packing.pack(model.init_params(training.init_key(seed)))


def _temporaries(compiled: jax.stages.Compiled, platform: str) -> int:
    """Bytes of the temporaries of a step that are in the memory of the process, where XLA tells."""
    memory = compiled.memory_analysis()
    return 0 if platform != "cpu" or memory is None else memory.temp_size_in_bytes


def _unpacking(loss: training.BatchLoss, mesh: Mesh) -> training.BatchLoss:
    """The loss of packed parameters.

    On an fsdp mesh 1-D parameters are replicated explicitly, since the compiler otherwise shards their gradients as
    those of matrices and sends them around one at a time.
    """
    replicated = sharding.replicated(mesh)

    def replicate(leaf: jax.Array) -> jax.Array:
        is_vector = leaf.ndim <= 1 and mesh.shape[sharding.FSDP] > 1
        return jax.lax.with_sharding_constraint(leaf, replicated) if is_vector else leaf

    return lambda params, *rest: loss(jax.tree.map(replicate, packing.unpack(params)), *rest)


def _shardings(state: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.sharding, state)
