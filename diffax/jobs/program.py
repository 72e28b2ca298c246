"""The compiled training step of a config, and the state that it works on, on a mesh of devices."""

import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh

from diffax import build, sharding, training
from diffax.jobs.model import Model
from diffax.reporting import throughput


@dataclasses.dataclass(frozen=True)
class Program:
    """step: jitted, (state, batch) -> (state, metrics), the state donated; a batch is what build.batches gives.

    placed: where every array of the state is.
    """

    model: Model
    mesh: Mesh
    placed: training.TrainState
    step: jax.stages.Wrapped

    @classmethod
    def build(cls, model: Model, mesh: Mesh) -> "Program":
        """The step of a model's config.

        Raises:
          ValueError: settings of training that cannot be.
        """
        config = model.config
        step = training.make_train_step(
            model.loss,
            build.optimizer(config),
            build.learning_rate_shape(config),
            view=build.sharded(build.view(config, model.dataset), mesh),
            accumulate=config.train.accumulate,
        )
        if config.train.steps_per_dispatch > 1:
            step = training.several_steps(step, config.train.steps_per_dispatch)
        placed = sharding.state_shardings(mesh, jax.eval_shape(model.init_state))
        jitted = jax.jit(step, donate_argnums=0, out_shardings=(placed, sharding.replicated(mesh)))
        return cls(model, mesh, placed, jitted)

    def init_state(self) -> training.TrainState:
        """The state before training, on the devices of the mesh."""
        # Drawn once: optimising the program that draws parameters takes longer than training's first hundred steps.
        # Drawn where it stays: a state that is split need not fit on one device, and one that moved would have the
        # step compiled twice.
        options = {"xla_backend_optimization_level": 0}
        return jax.jit(self.model.init_state, out_shardings=self.placed, compiler_options=options)()

    def flops(self, lowered: Any) -> float | None:
        """Operations of one step as written, on all devices; lowered: the step, before it is compiled."""
        flops, unrolled = throughput.flops(lowered), training.accumulation.unrolled()
        if flops is None:
            return None
        train = self.model.config.train
        # A loop's body is counted once.
        return flops * (1 / train.steps_per_dispatch if unrolled else train.accumulate)

    def ceiling(self) -> float:
        """Operations per second of matrix products on all devices, in the network's dtype."""
        return self.mesh.size * throughput.matmul_flops(build.compute_dtype(self.model.config))
