"""Parameters of a Flax network from the tensors of the PyTorch network of the same structure, batch norm folded in.

A batch norm at inference is (y - mean) / sqrt(variance + epsilon) * weight + bias with stored mean and variance. After
a convolution it is the same convolution with another kernel and a bias.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from diffax.evaluation.features import weights

Shapes = dict[tuple[str, ...], dict[str, tuple[int, ...]]]
_NORM = ("weight", "bias", "running_mean", "running_var")


class Source(NamedTuple):
    """Where the parameters of a layer come from: the names of a PyTorch layer and of the batch norm after it."""

    layer: str
    norm: str | None = None


def shapes_of(network: nn.Module, images: tuple[int, ...]) -> Shapes:
    """The shapes of a network's parameters by layer and by name, found without computing."""
    variables = jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct(images, jnp.float32))
    shapes: Shapes = {}
    for path, value in flax.traverse_util.flatten_dict(variables["params"]).items():
        shapes.setdefault(path[:-1], {})[path[-1]] = value.shape
    return shapes


def torch_shapes(shapes: Shapes, source: Callable[[tuple[str, ...]], Source]) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the tensors in PyTorch's layout: those that `parameters` reads."""
    expected = {}
    for path, layer in shapes.items():
        name, norm = source(path)
        for key, shape in layer.items():
            if key == "kernel":
                expected[f"{name}.weight"] = (*shape[:-3:-1], *shape[:-2])
            elif norm is None:
                expected[_joined(name, "weight" if key == "scale" else key)] = shape
        if norm is not None:
            expected |= {f"{norm}.{key}": layer["kernel"][-1:] for key in _NORM}
    return expected


def parameters(
    shapes: Shapes, state: weights.State, source: Callable[[tuple[str, ...]], Source], *, epsilon: float = 0.0
) -> dict[str, Any]:
    """The parameters of the Flax network as nested dictionaries, float32; folding is done in float64.

    Args:
      shapes: of the Flax network, by layer.
      state: the tensors that `torch_shapes` names.
      source: the PyTorch layer of a Flax layer, by its path.
      epsilon: of the batch norms.
    """
    flat: dict[tuple[str, ...], np.ndarray] = {}
    for path, layer in shapes.items():
        name, norm = source(path)
        for key in layer:
            tensor = state.get(f"{name}.weight") if key in ("kernel", "scale") else state.get(_joined(name, key))
            if key == "kernel":
                kernel = _kernel(state[f"{name}.weight"])
                tensor = kernel * _factor(state, norm, epsilon) if norm else kernel
            elif norm:
                mean, bias = (state[f"{norm}.{part}"].astype(np.float64) for part in ("running_mean", "bias"))
                tensor = bias - mean * _factor(state, norm, epsilon)
            flat[*path, key] = np.asarray(tensor, np.float32)
    return flax.traverse_util.unflatten_dict(flat)


def _kernel(weight: np.ndarray) -> np.ndarray:
    """(out, in) as (in, out), and (out, in, height, width) as (height, width, in, out)."""
    return weight.astype(np.float64).transpose(*range(2, weight.ndim), 1, 0)


def _factor(state: weights.State, norm: str, epsilon: float) -> np.ndarray:
    return state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"].astype(np.float64) + epsilon)


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
