"""The compiled training step of a config, and the state that it works on, on a mesh of devices."""

import concurrent.futures
import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from diffax import build, networks, sharding, training
from diffax.jobs.model import Model
from diffax.reporting import throughput

_HEAD_START = 0.3  # seconds


@dataclasses.dataclass(frozen=True)
class Program:
    """step: jitted, (state, batch) -> (state, metrics), the state donated; a batch is what build.batches gives.

    state: the shapes of the state, and where every array of it is.
    """

    model: Model
    mesh: Mesh
    state: training.TrainState
    step: jax.stages.Wrapped

    @classmethod
    def build(cls, model: Model, mesh: Mesh) -> "Program":
        """The step of a model's config.

        Raises:
          ValueError: settings of training that cannot be.
        """
        config = model.config
        step = training.make_train_step(
            gathered(model.loss, mesh),
            build.optimizer(config),
            build.learning_rate_shape(config),
            view=build.sharded(build.view(config, model.dataset), mesh),
            accumulate=config.train.accumulate,
        )
        if config.train.steps_per_dispatch > 1:
            step = training.several_steps(step, config.train.steps_per_dispatch)
        state = sharding.placed(mesh, model.shapes)
        jitted = jax.jit(step, donate_argnums=0, out_shardings=(_shardings(state), sharding.replicated(mesh)))
        return cls(model, mesh, state, jitted)

    def init_state(self) -> training.TrainState:
        """The state before training, on the devices of the mesh."""
        # Drawn once: optimising the program that draws parameters takes longer than training's first hundred steps.
        # Drawn where it stays: a state that is split need not fit on one device, and one that moved would have the
        # step compiled twice.
        options = {"xla_backend_optimization_level": 0}
        return jax.jit(self.model.init_state, out_shardings=_shardings(self.state), compiler_options=options)()

    def continued(self, saved: dict[str, Any]) -> training.TrainState:
        """The state of a checkpoint, on the devices of the mesh, with the numbers of the config."""

        def place(number: Any, like: jax.ShapeDtypeStruct) -> jax.Array:
            return sharding.from_copies(like.sharding, np.asarray(number, like.dtype))

        numbers = jax.tree.map(place, self.model.numbers, self.state.numbers)
        return dataclasses.replace(self.state.with_saved(saved), numbers=numbers)

    def compile(self, state: training.TrainState, batch: Any) -> float | None:
        """Compiles the step for such a state and batch, which its first call would do, and counts its `flops`."""
        lowered = self.step.lower(state, batch)
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            compiling = thread.submit(lowered.compile)
            # Counting takes a second in which it holds Python's lock; the compiler first has to be where it needs none.
            concurrent.futures.wait([compiling], timeout=_HEAD_START)
            flops = self.flops(lowered)
            compiling.result()
        return flops

    def flops(self, lowered: Any) -> float | None:
        """Operations of one step on all devices, as in `throughput.flops`; lowered: the step."""
        flops, unrolled = throughput.flops(lowered), training.accumulation.unrolled()
        if flops is None:
            return None
        train = self.model.config.train
        # A loop's body is counted once.
        return flops * (1 / train.steps_per_dispatch if unrolled else train.accumulate)

    def ceiling(self) -> float:
        """Operations per second of matrix products on all devices, in the network's dtype."""
        return self.mesh.size * throughput.matmul_flops(build.compute_dtype(self.model.config))


def gathered(loss: training.BatchLoss, mesh: Mesh) -> training.BatchLoss:
    """The loss by vectors that are whole on every device, as they are where they are not packed.

    Else the compiler splits their gradients as it does those of kernels, and sends them around one at a time.
    """
    if mesh.shape[sharding.FSDP] == 1:
        return loss
    whole = sharding.replicated(mesh)

    def gather(leaf: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(leaf, whole) if leaf.ndim <= 1 else leaf

    return lambda params, *rest: loss(jax.tree.map(gather, networks.packed.unpack(params)), *rest)


def _shardings(state: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.sharding, state)
