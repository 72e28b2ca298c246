"""The training state of configs/cifar_ddpm.py as shapes: parameters, Adam's moments and the EMA."""

import functools

import jax

from configs import cifar_ddpm
from diffax import build_training, resolve, runs, training
from diffax.runs import packing


def shapes(*, packed: bool = True) -> training.TrainState:
    """The state as jax.ShapeDtypeStructs; packed: with all 1-D parameters in one array, as a run has it."""
    config = resolve.resolve(cifar_ddpm.get_config())
    model = runs.Model.build(config, runs.DataDescription("cifar10", (32, 32, 3), num_levels=256))

    def init_params(key: jax.Array) -> training.TrainState:
        params = model.init_params(key)
        return packing.pack(params) if packed else params

    init = functools.partial(training.init_state, config.seed, init_params, build_training.optimizer(config))
    return jax.eval_shape(init, model.hyperparameters)
