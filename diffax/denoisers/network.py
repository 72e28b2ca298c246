"""Denoisers from networks: a network with its parameterization (prediction type) and preconditioning."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays, conditions, processes
from diffax.typing import Array, Denoiser, Keys, Numeric, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]
RawOutput = Float[jax.Array, "batch ..."]
TimeInput = Callable[[Schedule, Numeric], Array]


@runtime_checkable
class ApplyFn(Protocol):
    """The forward pass of a network of any library; typing.Network describes its arguments."""

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
    """A function predict(x_t, t, s=None, *, key=None, told=None) to the raw output of a network, for the training loss.

    It makes the network's input of x_t by the parameterization and converts t to the time input; a second time s is
    for networks with the condition `span`, and `told` has values of further conditions. The arguments are those of
    from_network.
    """

    def predict(
        x_t: Sample, t: Numeric, s: Numeric | None = None, *, key: Keys | None = None, told: Any = None
    ) -> RawOutput:
        t = jnp.broadcast_to(jnp.asarray(t, x_t.dtype), x_t.shape[:1])
        values = condition if told is None else {**(condition or {}), **told}
        if s is not None:
            values = {**(values or {}), conditions.SPAN: t - jnp.asarray(s, t.dtype)}
        x = parameterization.network_input(schedule, x_t, t)
        return apply_fn(params, x, time_input(schedule, t), values, key=key)

    return predict


def split_variance(raw: RawOutput, x_t: Sample) -> tuple[RawOutput, RawOutput | None]:
    """Splits a raw output of twice x_t's channels into the prediction and log_variance_fraction; None without one.

    The second half of the channels is -1 for DDPM's small and 1 for its large variance (arXiv:2102.09672, eq. 15).
    """
    if x_t.ndim < 2 or raw.shape[-1] != 2 * x_t.shape[-1]:
        return raw, None
    net_out, v = jnp.split(raw, 2, axis=-1)
    return net_out, (v + 1) / 2


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class NetworkDenoiser:
    """What from_network makes: the network, its parameters and the settings of from_network."""

    params: Any
    schedule: Schedule
    parameterization: processes.Parameterization
    condition: Any
    apply_fn: ApplyFn = dataclasses.field(metadata={"static": True})
    time_input: TimeInput = dataclasses.field(metadata={"static": True})

    def __call__(self, x_t: Sample, t: Numeric, s: Numeric | None = None) -> Prediction:
        predict = raw_network(
            self.apply_fn,
            self.params,
            self.schedule,
            self.parameterization,
            time_input=self.time_input,
            condition=self.condition,
        )
        net_out, fraction = split_variance(predict(x_t, t, s), x_t)
        prediction = self.parameterization.predict(self.schedule, net_out, x_t, t)
        return prediction._replace(log_variance_fraction=fraction)

    def telling(self, more: dict[str, Any]) -> "NetworkDenoiser":
        """The denoiser under further conditions."""
        return dataclasses.replace(self, condition={**(self.condition or {}), **more})


def from_network(
    apply_fn: ApplyFn,
    params: Any,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    *,
    time_input: TimeInput,
    condition: Any = None,
) -> Denoiser:
    """The denoiser of a trained network. It is a pytree, so that jit takes params as an argument, not as constants.

    Where the network takes the condition `span` (conditions.SPAN), it is a TwoTimeDenoiser.

    Args:
      apply_fn: apply_fn(params, x, time_input, condition, *, key) -> raw output of x's shape; or with twice its
        channels, the second half being a learned variance: -1 for DDPM's small and 1 for its large variance
        (arXiv:2102.09672).
      parameterization: the prediction type of the raw output, such as processes.V().
      time_input: one of denoisers.time_inputs, or any function (schedule, t) -> (batch,).
      condition: a pytree whose leaves have a batch axis, for conditional networks; None for unconditional ones.
    """
    return NetworkDenoiser(params, schedule, parameterization, condition, apply_fn, time_input)
