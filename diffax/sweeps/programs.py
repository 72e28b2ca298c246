"""Which points share a compiled training program: those that differ only in numbers that it takes as arguments.

These are the seed, the learning rate, and the numbers of noise schedule, parameterization, loss weighting, density of
training times and averages: the leaves of training.Hyperparameters.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from diffax import resolve, training
from diffax.runs.model import Model

_ALONE = ("seed", "optimizer.learning_rate")
_WITHIN = ("schedule.", "parameterization.", "loss.weighting.", "loss.time_density.", "ema.")
_LARGEST_SEED = 2**31 - 1

T = TypeVar("T")


def key(config: ConfigDict) -> Hashable:
    """The same for configurations whose programs may be shared: all of a resolved configuration but its numbers."""
    return tuple((path, "number" if _is_argument(path, value) else repr(value)) for path, value in _sorted(config))


def structure(hyperparameters: training.Hyperparameters) -> Hashable:
    """The same for hyperparameters that one program takes: their tree, and the shapes of its leaves."""
    leaves, tree = jax.tree.flatten(hyperparameters)
    return tree, tuple(jnp.shape(leaf) for leaf in leaves)


def groups(things: Iterable[T], of: Callable[[T], Hashable]) -> list[list[T]]:
    """The things by their keys, in the order in which each key first comes."""
    found: dict[Hashable, list[T]] = {}
    for thing in things:
        found.setdefault(of(thing), []).append(thing)
    return list(found.values())


def can_share(config: ConfigDict) -> bool:
    """Whether a run may be one of several in a program.

    Its state lies on one device, its seed is an int32, and it has no teacher, of which each would have a copy.
    """
    on_one_device = config.mesh.data in (None, 1) and config.mesh.fsdp == 1
    return on_one_device and config.seed <= _LARGEST_SEED and config.loss.teacher is None


def has_convolutions(model: Model) -> bool:
    """Whether the network convolves, found in its traced program."""
    params = jax.eval_shape(model.init_params, jax.random.key(0))
    x = jax.ShapeDtypeStruct((1, *model.input_shape), jnp.float32)
    t = jax.ShapeDtypeStruct((1,), jnp.float32)
    traced = jax.make_jaxpr(lambda params, x, t: model.network(params, x, t, None))(params, x, t)
    return "conv_general_dilated" in str(traced)


def _is_argument(path: str, value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and (path in _ALONE or path.startswith(_WITHIN))


def _sorted(config: ConfigDict) -> list[tuple[str, Any]]:
    return sorted(resolve.flat(config).items())
