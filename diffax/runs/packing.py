"""Packs all 1-D parameters into one array, which reduces dispatch, program loading and checkpoint overhead.

Two thirds of a UNet's arrays are biases and normalization scales, which hold a few in a thousand of its numbers. The
training state of the UNet of configs/cifar_ddpm.py has 1,323 arrays plain and 467 packed. Only a run's compiled program
and its checkpoints hold packed parameters, which an optimizer takes for a pytree like any other. Networks, evaluators
and users see the plain tree.
"""

import dataclasses
import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp

from diffax import arrays


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Packed:
    """A tree of parameters with its vectors in one array.

    matrices: the leaves with more than one axis, by the names of their paths.
    vectors: all other leaves end to end, one array (num,). Its key is made of the layout, so that a checkpoint of
      another layout is not mistaken for this one.
    layout: path and shape of every vector, in the order of the paths.
    structure: of the plain tree; paths: of its leaves, in order.
    """

    matrices: dict[str, Any]
    vectors: dict[str, jax.Array]
    layout: tuple[tuple[str, tuple[int, ...]], ...] = dataclasses.field(metadata={"static": True})
    structure: Any = dataclasses.field(metadata={"static": True})
    paths: tuple[str, ...] = dataclasses.field(metadata={"static": True})


def pack(params: Any) -> Any:
    """The parameters, any pytree of arrays, packed; as they are if their vectors differ in dtype or are none."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    by_path = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    # Sorted by path: Flax makes the same parameters in another order under gradient checkpointing.
    vectors = {path: leaf for path, leaf in sorted(by_path.items()) if leaf.ndim <= 1}
    if len({leaf.dtype for leaf in vectors.values()}) != 1 or len(by_path) != len(leaves):
        return params
    matrices = {path: leaf for path, leaf in by_path.items() if path not in vectors}
    layout = tuple((path, leaf.shape) for path, leaf in vectors.items())
    key = f"{len(layout)}_{zlib.crc32(repr(layout).encode()):08x}"
    flat = jnp.concatenate([leaf.ravel() for leaf in vectors.values()])
    return Packed(matrices, {key: flat}, layout, jax.tree.structure(params), tuple(by_path))


def unpack(params: Any) -> Any:
    """The plain tree of packed parameters; a plain tree as it is."""
    if not isinstance(params, Packed):
        return params
    [vectors] = params.vectors.values()
    # One split instead of many slices: its gradient is one concatenation.
    parts = jax.lax.split(vectors, [math.prod(shape) for _, shape in params.layout])
    cut = {path: part.reshape(shape) for (path, shape), part in zip(params.layout, parts, strict=True)}
    by_path = params.matrices | cut
    return jax.tree.unflatten(params.structure, [by_path[path] for path in params.paths])
