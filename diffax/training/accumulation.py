"""Gradient accumulation: the gradient of a large batch, computed part by part."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def in_parts(
    of_part: Callable[..., tuple[Any, Any]], params: Any, examples: tuple[Any, ...], num_parts: int
) -> tuple[Any, Any]:
    """of_part(params, *examples), with the memory of a batch num_parts times smaller.

    Args:
      of_part: (params, *examples) to (means, each). means: a pytree of means over examples, such as the mean loss and
        its gradient; means of equal parts are averaged exactly. each: anything of every example by itself, a pytree
        whose leaves have a batch axis.
      examples: pytrees whose leaves have a batch axis.

    Raises:
      ValueError: the batch cannot be cut into num_parts equal parts.
    """
    batch_size = len(jax.tree.leaves(examples)[0])
    check_divides(num_parts, batch_size)
    if num_parts == 1:
        return of_part(params, *examples)

    def add_part(total: Any, part: tuple[Any, ...]) -> tuple[Any, Any]:
        means, each = of_part(params, *after(total, part))
        return jax.tree.map(jnp.add, total, means), each

    parts = jax.tree.map(lambda leaf: _cut(leaf, num_parts), examples)
    shapes = jax.eval_shape(of_part, params, *jax.tree.map(lambda leaf: leaf[0], parts))
    total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes[0])
    total, each = jax.lax.scan(add_part, total, parts, unroll=unrolled())
    return jax.tree.map(lambda leaf: leaf / num_parts, total), jax.tree.map(_joined, each)


def check_divides(num_parts: int, batch_size: int) -> None:
    """Raises ValueError unless batches can be cut into equal parts."""
    if num_parts < 1 or batch_size % num_parts:
        raise ValueError(f"train.accumulate must divide the batch of {batch_size} examples, got {num_parts}")


def unrolled() -> bool:
    """Whether loops around gradients are unrolled: on CPUs, where XLA's weight gradient of a convolution inside a loop
    takes 20 to 30 times longer."""
    return jax.default_backend() == "cpu"


def after(total: Any, part: Any) -> Any:
    """The part itself, its numbers not there before all of `total` is.

    Else a loop that is written out holds the activations of all parts at once. It is no optimization barrier, which
    XLA's CPU compiler forgets before it puts operations in order; and 0 times a float is not nothing to it. The zero is
    a reduction, which XLA computes once. A chain of additions is cheap enough for it to repeat in every operation that
    reads the zero: 115,000 of the 157,000 instructions of the step of configs/cifar_ddpm.py were such.
    """
    firsts = [leaf.reshape(-1)[0].astype(jnp.float32) for leaf in jax.tree.leaves(total) if leaf.size]
    nothing = (0 * jnp.asarray(firsts, jnp.float32)).sum()  # 0 without leaves, too
    return jax.tree.map(
        lambda leaf: leaf + jnp.asarray(nothing, leaf.dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, part
    )


def _cut(leaf: jax.Array, num_parts: int) -> jax.Array:
    """(parts, batch / parts, ...), part k with the examples k, k + parts, ...

    Each device of a mesh holds a contiguous share of the batch, and so an equal share of every part. Cut into
    contiguous parts, each part would be the business of some of the devices.
    """
    return jnp.moveaxis(leaf.reshape(-1, num_parts, *leaf.shape[1:]), 1, 0)


def _joined(leaf: jax.Array) -> jax.Array:
    """(batch, ...) of the parts (parts, batch / parts, ...) of `_cut`."""
    return jnp.moveaxis(leaf, 0, 1).reshape(-1, *leaf.shape[2:])
