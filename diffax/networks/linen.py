"""Flax Linen modules as networks: plain functions of plain parameters, the `Network` protocol of diffax.typing."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffax.conditions import Conditions, Kind
from diffax.typing import Network

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Linen:
    """A Network made of a Linen module `module(x, time_input, condition=None, *, keys=None)`.

    Parameters are a nested dictionary, as Flax has them. Equal modules make equal networks with equal hashes, so that
    jit does not compile again for each of them.
    """

    module: nn.Module

    @property
    def conditions(self) -> Mapping[str, Kind]:
        """The kinds of the conditions that the module takes, by name."""
        return getattr(self.module, "conditions", {})

    def init(self, key: Key[Array, ""], sample_shape: tuple[int, ...]) -> Params:
        """Draws float32 parameters for samples of a shape, without the batch axis.

        Run it under jax.jit, or under jax.eval_shape for shapes alone: layer by layer it is slow.
        """
        x = jnp.zeros((1, *sample_shape), jnp.float32)
        # Flax's own annotations of how arrays are sharded are not used.
        return nn.meta.unbox(self.module.init(key, x, jnp.zeros((1,), jnp.float32))["params"])

    def __call__(
        self,
        params: Params,
        x: Float[Array, "batch *dims"],
        time_input: Float[Array, " batch"],
        condition: Conditions | None = None,
        *,
        key: Key[Array, " batch"] | None = None,
    ) -> Float[Array, "batch *out_dims"]:
        """The raw output of the network; key: one per sample, for dropout, or None."""
        out: Any = self.module.apply({"params": params}, x, time_input, condition, keys=key)
        return out


def as_network(network: Any, name: str = "") -> Network:
    """The object as a Network: a Linen module is wrapped, anything else has to fulfil the protocol.

    Raises:
      ValueError: it does not, naming what is missing.
    """
    if isinstance(network, nn.Module):
        return Linen(network)
    missing = [member for member in ("init", "__call__", "conditions") if not hasattr(network, member)]
    if missing:
        raise ValueError(
            f"the network {name or type(network).__name__!r} has no {missing[0]}: it must be a Flax Linen module or "
            "have conditions, {} for none, init(key, sample_shape) and "
            "__call__(params, x, time_input, condition, *, key)"
        )
    return network
