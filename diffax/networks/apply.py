"""From Flax modules to plain functions of plain parameters."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffax.networks import conditioning, packed

Params = packed.Packed | dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Apply:
    """apply(params, x, time_input, condition=None, *, key=None), the one way a network is called outside this folder.

    params: a nested dict, as Flax has them, or `packed`. key: one per sample, for dropout; None for none. Equal
    modules make equal functions with equal hashes, so that jit does not compile again for each of them.
    """

    module: nn.Module

    def __call__(
        self,
        params: Params,
        x: Float[Array, "batch *dims"],
        time_input: Float[Array, " batch"],
        condition: conditioning.Condition | None = None,
        *,
        key: Key[Array, " batch"] | None = None,
    ) -> Float[Array, "batch *out_dims"]:
        out: Any = self.module.apply({"params": packed.unpack(params)}, x, time_input, condition, keys=key)
        return out


def apply_fn(module: nn.Module) -> Apply:
    """The function of parameters that a network is."""
    return Apply(module)


def init_params(module: nn.Module, key: Key[Array, ""], sample_shape: tuple[int, ...]) -> dict[str, Any]:
    """Draws float32 parameters, a nested dict, for samples of the given shape without the batch axis.

    Run it under jax.jit, or under jax.eval_shape for shapes alone: layer by layer it is slow.
    """
    x = jnp.zeros((1, *sample_shape), jnp.float32)
    # Flax's own way to say how arrays are split is not ours.
    return nn.meta.unbox(module.init(key, x, jnp.zeros((1,), jnp.float32))["params"])
