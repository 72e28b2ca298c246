"""A tree of arrays as few: most arrays of a network are small, and what an array costs a checkpoint is paid for each.

Of the 1,323 arrays that train the UNet of configs/cifar_ddpm.py, its biases and scales, their moments and averages,
two thirds hold less than a hundredth of the numbers.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from diffax import sharding

# Smaller arrays are whole on every device, so that any process has all of their numbers.
_SMALLEST_APART = sharding.SMALLEST_SPLIT


def pack(tree: Any) -> dict[str, Any]:
    """{"large": the large arrays, in the order of the tree's leaves, "small": the bytes of all others, end to end}.

    "small" is a copy in host memory, and absent where there are none. Typed keys are among the large arrays.
    """
    leaves = jax.tree.leaves(tree)
    small = [leaf for leaf in leaves if _is_small(leaf)]
    for leaf in small:
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()
    packed: dict[str, Any] = {"large": [leaf for leaf in leaves if not _is_small(leaf)]}
    if small:
        hosted = (sharding.to_host(leaf) if isinstance(leaf, jax.Array) else leaf for leaf in small)
        content = b"".join(array.tobytes() for array in hosted)
        packed["small"] = np.frombuffer(content, np.uint8)
    return packed


def like(leaves: Iterable[Any]) -> dict[str, Any]:
    """The shapes and places of what `pack` makes of such leaves."""
    leaves = list(leaves)
    packed: dict[str, Any] = {"large": [_placed(leaf) for leaf in leaves if not _is_small(leaf)]}
    if num_bytes := sum(_num_bytes(leaf) for leaf in leaves if _is_small(leaf)):
        packed["small"] = np.empty(num_bytes, np.uint8)
    return packed


def unpack(packed: Mapping[str, Any], leaves: Iterable[Any]) -> list[Any]:
    """The leaves that were packed, in order and bit for bit; leaves: their shapes and places."""
    large, small, start, unpacked = iter(packed["large"]), packed.get("small", b""), 0, []
    for leaf in leaves:
        if not _is_small(leaf):
            unpacked.append(next(large))
            continue
        # Copied: on a CPU the array of the device may be the one that it is given.
        part = np.frombuffer(small, leaf.dtype, math.prod(leaf.shape), start).reshape(leaf.shape).copy()
        start += part.nbytes
        unpacked.append(part if isinstance(leaf, np.ndarray) else sharding.from_copies(_place(leaf), part))
    return unpacked


def _is_small(leaf: Any) -> bool:
    if not hasattr(leaf, "dtype") or jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return False
    return 0 < math.prod(leaf.shape) < _SMALLEST_APART


def _num_bytes(leaf: Any) -> int:
    return math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize


def _placed(leaf: Any) -> Any:
    if not isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=_place(leaf))


def _place(leaf: Any) -> jax.sharding.Sharding:
    return leaf.sharding if leaf.sharding is not None else SingleDeviceSharding(jax.devices()[0])
