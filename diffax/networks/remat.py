"""Gradient checkpointing (rematerialization): which intermediates of a block are kept for its gradient.

The others are computed again in the backward pass. Policies of jax.checkpoint are functions of a primitive and its
arguments.
"""

from typing import Any

from jax.extend.core import Primitive


def nothing(primitive: Primitive, *_: Any, **__: Any) -> bool:
    """Keeps the inputs of a block alone: least memory, and about a third more time."""
    return False


def products(primitive: Primitive, *_: Any, **__: Any) -> bool:
    """Keeps the outputs of convolutions and matrix products: only cheap operations are computed again."""
    return primitive.name in ("conv_general_dilated", "dot_general")


# The policies by the names of the option `remat` of a network; None keeps everything.
POLICIES = {"none": None, "products": products, "blocks": nothing}
