"""What of a block's inside is kept for its gradient; the rest is computed again then (rematerialisation).

Policies of jax.checkpoint: functions of a primitive and what it is called with.
"""

from typing import Any

from jax.extend.core import Primitive


def nothing(primitive: Primitive, *_: Any, **__: Any) -> bool:
    """Only what goes into a block: least memory, and about a third more time."""
    return False


def products(primitive: Primitive, *_: Any, **__: Any) -> bool:
    """What convolutions and matrix products return: only what is cheap is computed again."""
    return primitive.name in ("conv_general_dilated", "dot_general")
