"""Parameters with all vectors in one array: what an array costs a program, a call and a checkpoint is paid for each.

Two thirds of a UNet's arrays are biases and scales, which hold a few in a thousand of its numbers. With these, their
moments and averages in as few, a training step of the UNet of configs/cifar_ddpm.py has 467 arrays instead of 1,323.
"""

import dataclasses
import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from diffax import arrays
from diffax.typing import Node


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Packed:
    """kernels: the parameters with more than one axis, a nested dict.

    vectors: all others end to end, one array (num,) under a name made of the layout: a file that has its arrays by name
    is not taken for one of another layout.
    layout: the path and the shape of each of those, in the order of the paths.
    """

    kernels: Node[dict[str, Any]]
    vectors: Node[dict[str, jax.Array]]
    layout: tuple[tuple[tuple[str, ...], tuple[int, ...]], ...] = dataclasses.field(metadata={"static": True})

    def unpack(self) -> dict[str, Any]:
        """The parameters as they were packed."""
        [vectors] = self.vectors.values()
        # Not a slice for each: the gradient of a split is one concatenation.
        parts = jax.lax.split(vectors, [math.prod(shape) for _, shape in self.layout])
        cut = {path: part.reshape(shape) for (path, shape), part in zip(self.layout, parts, strict=True)}
        return traverse_util.unflatten_dict(traverse_util.flatten_dict(self.kernels) | cut)


def pack(params: dict[str, Any]) -> Packed | dict[str, Any]:
    """The parameters, a nested dict, with their vectors in one array; as they are if those differ in dtype."""
    flat = traverse_util.flatten_dict(params)
    # By their paths: Flax makes the same parameters in another order where blocks are rematerialised.
    vectors = {path: leaf for path, leaf in sorted(flat.items()) if leaf.ndim <= 1}
    if len({leaf.dtype for leaf in vectors.values()}) != 1:
        return params
    kernels = traverse_util.unflatten_dict({path: leaf for path, leaf in flat.items() if path not in vectors})
    layout = tuple((path, leaf.shape) for path, leaf in vectors.items())
    name = f"{len(layout)}_{zlib.crc32(repr(layout).encode()):08x}"
    return Packed(kernels, {name: jnp.concatenate([leaf.ravel() for leaf in vectors.values()])}, layout)


def unpack(params: Packed | dict[str, Any]) -> dict[str, Any]:
    """Parameters as Flax has them, packed or not."""
    return params.unpack() if isinstance(params, Packed) else params
