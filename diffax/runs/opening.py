"""Opening a trained model: from a run directory, without its training data, or from the state of training."""

import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffax import sharding, training
from diffax.runs import directory as run_directory
from diffax.runs import packing
from diffax.runs.errors import UserError, for_people
from diffax.runs.model import DataDescription, Model
from diffax.runs.trained import Trained
from diffax.training.checkpoint import Checkpoints


def open(directory: str | pathlib.Path, *, step: int | None = None) -> Trained:
    """The trained model of a run directory, from its newest checkpoint or that of a step.

    Reads no training data, and of the checkpoint only the averages that are asked for, when they are.

    Raises:
      UserError: a directory without a whole run or without a checkpoint, or a run of another version of diffax.
    """
    directory = pathlib.Path(directory).expanduser().absolute()
    config = run_directory.read_config(directory)
    if config is None:
        raise UserError(f"{directory} is no run's directory: it has no config.json")
    return open_with(directory, config, step=step)


def open_with(directory: pathlib.Path, config: ConfigDict, *, step: int | None = None) -> Trained:
    """The trained model of a run directory under a configuration that may differ from the run's in its sampler."""
    description = DataDescription.read(directory)
    with for_people():
        model = Model.build(config, description)
    mesh = mesh_for(config)
    packed = jax.eval_shape(lambda key: packing.pack(model.init_params(key)), jax.random.key(0))
    learned = jax.eval_shape(lambda: _learned_parameters(model))
    paths, found = run_directory.checkpoints(directory), dict[int, Any]()

    def restore(index: int, step: int | None) -> tuple[int, Any]:
        """Reads one average of a checkpoint, the newest unless told; its step, and what is learned beside it."""
        like = {"ema": {str(index): sharding.placed(mesh, packed)}}
        if learned:
            like["learned"] = {"parameters": sharding.placed(mesh, learned)}
        with Checkpoints(paths) as checkpoints, for_people():
            if step is None:
                restored = checkpoints.restore_newest(like, partial=True)
            else:
                restored = step, checkpoints.restore(step, like, partial=True)
        if restored is None:
            raise UserError(f"--workdir {directory} has no checkpoint yet: train it first (--mode train)")
        found[index] = packing.unpack(restored[1]["ema"][str(index)])
        return restored[0], restored[1].get("learned")

    # The one that is most likely to be used also tells which checkpoint is the newest that can be read.
    averages = tuple(config.ema)
    chosen = averages.index(config.sampler.average) if config.sampler.average in averages else 0
    newest, beside = restore(chosen, step)
    model = _with_learned(model, beside)

    def load(index: int) -> Any:
        if index not in found:
            restore(index, newest)
        return found[index]

    return Trained(model, newest, load, mesh, run_directory.trained_on(directory, config))


def live(model: Model, state: training.TrainState, step: int, mesh: Mesh) -> Trained:
    """The model in training, at a step."""
    model = _with_learned(model, state.learned)
    return Trained(model, step, lambda index: packing.unpack(state.ema[index]), mesh)


def _learned_parameters(model: Model) -> training.learned.Parameters:
    """The initial parameters of what is learned beside the network."""
    parts = training.learned.parts(model.hyperparameters)
    return {name: jax.tree.map(lambda leaf: jnp.asarray(leaf, float), part.parameters) for name, part in parts.items()}


def _with_learned(model: Model, learned: dict[str, Any] | None) -> Model:
    """The model with the parameters of a training state's `learned`, in NumPy: tables are built of them."""
    return model.with_learned(jax.tree.map(sharding.to_host, learned["parameters"])) if learned else model


def mesh_for(config: ConfigDict) -> Mesh:
    """A mesh over all devices: as near to config.mesh.fsdp, meant for training, as their number allows."""
    return sharding.make_mesh(fsdp=math.gcd(config.mesh.fsdp, jax.device_count()))
