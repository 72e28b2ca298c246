"""What the jobs share: everything a config stands for, built and checked before anything is written."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffax import arrays, build, networks, samplers, sharding, training
from diffax.jobs import run_directory
from diffax.jobs.errors import UserError, for_people
from diffax.reporting import progress
from diffax.training.checkpoint import Checkpoints
from diffax.typing import Denoiser

_SAMPLING_STREAM = 3


@dataclasses.dataclass(frozen=True)
class Model:
    """A network, the data it is for and the loss it is trained with.

    init_state: the state before training; run it under jit.
    shapes: of that state, as by jax.eval_shape.
    """

    config: ConfigDict
    dataset: build.Examples
    module: nn.Module
    loss: training.BatchLoss
    numbers: training.Numbers
    init_state: Callable[[], training.TrainState]
    shapes: training.TrainState

    @classmethod
    def build(cls, config: ConfigDict) -> "Model":
        """Builds all of a config.

        Raises:
          UserError: anything in the config that cannot be.
        """
        with for_people():
            dataset = build.dataset(config, "train", report=progress.downloads())
            module = build.network(config, dataset)
            loss, numbers = build.loss(config, module, dataset), build.numbers(config, dataset)
            init_state = functools.partial(build.init_state, config, module, dataset, numbers)
            # Traces the network, whose own checks of shapes speak here; jit of the same function will not again.
            shapes = jax.eval_shape(init_state)
            model = cls(config, dataset, module, loss, numbers, init_state, shapes)
            model.sampler_table()
            build.check_denoiser(config, module)
        return model

    @property
    def num_params(self) -> int:
        """How many parameters the network has."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.shapes.params))

    def sampler_table(self) -> samplers.SamplerTable:
        """The table of config.sampler."""
        return build.sampler_table(self.config, self.numbers.parameterization)

    def denoiser(self, params: Any, condition: networks.Condition | None = None) -> Denoiser:
        """The denoiser of the network's parameters that config.sampler asks for."""
        return build.denoiser(self.config, self.module, self.numbers.parameterization, params, condition)

    def restore(self, workdir: pathlib.Path, mesh: Mesh | None = None) -> tuple[int, dict[str, Any]]:
        """(step, saved state) of the newest checkpoint, or of the one before with a warning that it is damaged.

        On the devices of a mesh, by default of `everywhere`.

        Raises:
          UserError: there is none, or none that can be used.
        """
        with Checkpoints(run_directory.checkpoints(workdir)) as checkpoints, for_people():
            mesh = everywhere(self.config) if mesh is None else mesh
            restored = checkpoints.restore_newest(sharding.placed(mesh, self.shapes.saved()))
            if restored is None:
                raise UserError(f"--workdir {workdir} has no checkpoint yet: train it first (--mode train)")
            return restored

    def labels(self, num_samples: int, label: int | None = None) -> np.ndarray | None:
        """The labels to ask for: the one given, or each class in turn; None for a model without classes.

        Raises:
          UserError: a label the data does not have, or a label for a model without classes.
        """
        num_classes = getattr(self.module, "num_classes", None)
        if num_classes is None:
            if label is not None:
                raise UserError(f"--label {label} needs a class-conditional model; this one has no classes")
            return None
        if label is None:
            return np.arange(num_samples, dtype=np.int32) % num_classes
        if not 0 <= label < num_classes:
            raise UserError(f"--label must be in 0..{num_classes - 1}, got {label}")
        return np.full(num_samples, label, np.int32)


def everywhere(config: ConfigDict) -> Mesh:
    """A mesh over the devices there are: as near to config.mesh.fsdp, meant for training, as their number allows."""
    return sharding.make_mesh(fsdp=math.gcd(config.get("mesh", {}).get("fsdp", 1), jax.device_count()))


class Sampler:
    """Draws samples of a model by config.sampler: one compiled program for any number of samples of one batch size.

    A batch is shared among the devices of the mesh (by default of `everywhere`), on which the parameters are.
    """

    def __init__(self, model: Model, batch_size: int, mesh: Mesh | None = None):
        with for_people():
            self.table = model.sampler_table()
        self._model, self._mesh = model, everywhere(model.config) if mesh is None else mesh
        # Every device draws as many.
        self._batch_size = -(-batch_size // self._mesh.size) * self._mesh.size
        self._draw = jax.jit(self._one_batch, out_shardings=sharding.batch_sharding(self._mesh))

    def draw(self, params: Any, seed: int, num_samples: int, labels: np.ndarray | None) -> np.ndarray:
        """(num_samples, *dims) in the network's range; sample i depends on (seed, i) and its label alone.

        All processes have to call it, and get all samples.

        Raises:
          FloatingPointError: a sample that is not finite, naming it.
        """
        parts = []
        for start in range(0, num_samples, self._batch_size):
            # The last batch is filled up, so that it compiles nothing anew.
            index = np.arange(start, start + self._batch_size, dtype=np.int32)
            label = None if labels is None else labels[np.minimum(index, num_samples - 1)]
            each = sharding.from_copies(sharding.batch_sharding(self._mesh), (index, label))
            parts.append(sharding.to_host(self._draw(params, seed, *each)))
        drawn = np.concatenate(parts)[:num_samples]
        finite = np.isfinite(drawn.reshape(num_samples, -1)).all(axis=1)
        if not finite.all():
            raise FloatingPointError(
                f"{int((~finite).sum())} of {num_samples} samples are not finite, the first is number "
                f"{int(np.argmin(finite))}: the parameters or the sampler ({self.table.name}) diverge"
            )
        return drawn

    def _one_batch(self, params: Any, seed: jax.Array, index: jax.Array, label: jax.Array | None) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(seed), _SAMPLING_STREAM)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)
        condition = None if label is None else {"label": label}
        denoiser = self._model.denoiser(params, condition)
        prior_keys, noise_keys = arrays.split_keys(keys, 2)
        x = samplers.prior(self.table, prior_keys, self._model.dataset.shape)
        return samplers.run(self.table, denoiser, x, noise_keys)
