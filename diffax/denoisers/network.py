"""A network and a parameterization become a denoiser."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays, processes
from diffax.typing import Array, Keys, Node, Numeric, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]
RawOutput = Float[jax.Array, "batch ..."]
TimeInput = Callable[[Schedule, Numeric], Array]


@runtime_checkable
class ApplyFn(Protocol):
    """Any network of any library: condition is a pytree with a batch axis or None, key one key per sample or None."""

    def __call__(
        self, params: Any, x: Sample, time_input: Array, condition: Any, *, key: Keys | None = None
    ) -> RawOutput: ...


def raw_network(
    apply_fn: ApplyFn,
    params: Any,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    *,
    time_input: TimeInput,
    condition: Any = None,
) -> Callable[..., RawOutput]:
    """predict(x_t, t, *, key=None) -> the network's raw output, with x_t scaled and t told as the model wants them."""

    def predict(x_t: Sample, t: Numeric, *, key: Keys | None = None) -> RawOutput:
        t = jnp.broadcast_to(jnp.asarray(t, x_t.dtype), x_t.shape[:1])
        scale = arrays.expand_to(parameterization.input_scale(schedule, t), x_t)
        return apply_fn(params, scale * x_t, time_input(schedule, t), condition, key=key)

    return predict


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class NetworkDenoiser:
    """See from_network."""

    params: Any
    schedule: Node[Schedule]
    parameterization: Node[processes.Parameterization]
    condition: Any
    apply_fn: ApplyFn = dataclasses.field(metadata={"static": True})
    time_input: TimeInput = dataclasses.field(metadata={"static": True})

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        predict = raw_network(
            self.apply_fn,
            self.params,
            self.schedule,
            self.parameterization,
            time_input=self.time_input,
            condition=self.condition,
        )
        net_out, variance = predict(x_t, t), None
        if x_t.ndim > 1 and net_out.shape[-1] == 2 * x_t.shape[-1]:
            net_out, v = jnp.split(net_out, 2, axis=-1)
            variance = (v + 1) / 2
        return self.parameterization.predict(self.schedule, net_out, x_t, t)._replace(variance=variance)


def from_network(
    apply_fn: ApplyFn,
    params: Any,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    *,
    time_input: TimeInput,
    condition: Any = None,
) -> NetworkDenoiser:
    """The denoiser of a trained network; a pytree, so that jit can take it as an argument without baking params in.

    Args:
      apply_fn: apply_fn(params, x, time_input, condition, *, key) -> raw output of x's shape; or with twice its
        channels, the second half a learned variance, -1 the small one of DDPM and 1 the large (arXiv:2102.09672).
      time_input: one of denoisers.time_inputs, or any function (schedule, t) -> (batch,).
      condition: what the samples are to be, a pytree whose leaves have a batch axis; None for none.
    """
    return NetworkDenoiser(params, schedule, parameterization, condition, apply_fn, time_input)
