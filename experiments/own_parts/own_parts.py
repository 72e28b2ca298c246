"""An Equinox network, an NNX network, a data set and a loss weighting of one's own, trained by launch.py.

python launch.py --config experiments/own_parts/own_parts.py [--config.model.name=own_parts:Nnx]
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from diffax import config as settings
from diffax import data


class Equinox:  # a diffax.typing.Network
    conditions = property(lambda self: {})  # it is told nothing but the time

    def __init__(self, width: int = 128, depth: int = 3):
        self.make = lambda key: eqx.nn.MLP(65, 64, width, depth, jax.nn.silu, key=key)

    def init(self, key, sample_shape):
        return eqx.filter(self.make(key), eqx.is_array)

    def __call__(self, params, x, time_input, condition=None, *, key=None):
        model = eqx.combine(params, eqx.filter_eval_shape(self.make, jax.random.key(0)))
        return jax.vmap(model)(jnp.concatenate([x.reshape(-1, 64), time_input[:, None]], 1)).reshape(x.shape)


class Nnx(Equinox):
    def __init__(self, width: int = 128):
        self.make = lambda key: nnx.Sequential(
            nnx.Linear(65, width, rngs=nnx.Rngs(key)), nnx.silu, nnx.Linear(width, 64, rngs=nnx.Rngs(key))
        )

    def init(self, key, sample_shape):
        return nnx.to_pure_dict(nnx.state(self.make(key), nnx.Param))

    def __call__(self, params, x, time_input, condition=None, *, key=None):
        graph, state = nnx.split(nnx.eval_shape(lambda: self.make(jax.random.key(0))))
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)(jnp.concatenate([x.reshape(-1, 64), time_input[:, None]], 1)).reshape(x.shape)


def inverted_digits(split, *, digit: int = 3):  # a data source: (split, options) to a Dataset
    digits = data.dataset.only(data.digits.load(split), digit)
    return data.dataset.Dataset(name=f"inverted {digit}s", examples=np.uint8(16) - digits.examples, num_levels=17)


def soft_min_snr(log_snr, log_density, *, gamma: float = 5.0):  # a losses.weighting.Weighting
    return -jax.nn.softplus(log_snr - np.log(gamma))


def get_config():
    config = settings.default()
    config.data = settings.choice("own_parts:inverted_digits", digit=3)
    config.model = settings.choice("own_parts:Equinox", width=128, time_input=settings.choice("quarter_log_sigma"))
    config.loss.weighting = settings.choice("own_parts:soft_min_snr", gamma=5.0)
    config.train.update(batch_size=32, num_steps=2000, checkpoint_every=1000)
    return config
