"""Types that all of diffax shares: array aliases, Prediction, and the Schedule, Denoiser and Network protocols."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

if TYPE_CHECKING:
    # Functions return the array type of the library that their arguments belong to, which static types cannot express.
    Array = Any
    Numeric = Any
else:
    # np.generic: NumPy functions return a scalar, not an array, for arguments of shape ().
    Array = jax.Array | np.ndarray | np.generic
    # A time, a coefficient, a log-SNR: a number or an array of any shape. NumPy in, NumPy out; JAX in, JAX out.
    Numeric = Array | float | int


# Typed PRNG keys, one per sample: shape (batch,).
Keys = jax.Array


@runtime_checkable
class Schedule(Protocol):
    """A noise schedule: x_t = alpha(t) x_0 + sigma(t) eps for t in [0, 1], where t = 0 is data and t = 1 is noise.

    Every method takes t (or a log-SNR) of any shape and returns that shape. alpha is the factor of x_0 itself: DDPM's
    alpha_bar_t (arXiv:2006.11239) and DDIM's alpha_t (arXiv:2010.02502) are our alpha(t) squared.
    """

    def alpha(self, t: Numeric) -> Array: ...

    def sigma(self, t: Numeric) -> Array: ...

    def log_snr(self, t: Numeric) -> Array:
        """The log signal-to-noise ratio 2 log(alpha / sigma) in nats, decreasing in t.

        Clipped to +-schedules.LOG_SNR_LIMIT.
        """

    def t_of_log_snr(self, log_snr: Numeric) -> Array:
        """The time at which log_snr has this value: the inverse of log_snr(t)."""


class Prediction(NamedTuple):
    """A denoiser's estimates of x_0 and eps at x_t, each of x_t's shape.

    log_variance_fraction is the learned variance of a reverse step, for networks that have one (improved DDPM,
    arXiv:2102.09672, eq. 15): the fraction v by which the log-variance lies between DDPM's small (0) and large (1) one,
    log variance = (1 - v) log small + v log large. It has x_t's shape.
    """

    x_0: jax.Array
    eps: jax.Array
    log_variance_fraction: jax.Array | None = None


@runtime_checkable
class Denoiser(Protocol):
    """Predicts x_0 and eps from x_t (batch, *dims) and t, a scalar or (batch,)."""

    def __call__(self, x_t: jax.Array, t: jax.Array, /) -> Prediction: ...


@runtime_checkable
class FlowMap(Protocol):
    """The flow map of the probability-flow ODE: x_s, where the trajectory through x_t is at the time s.

    x_t is (batch, *dims); t and s are scalars or (batch,), in either order. With s = t it is the identity. Consistency
    models learn it for s = 0 (arXiv:2303.01469), MeanFlow and shortcut models for all s <= t (arXiv:2505.13447).
    """

    def __call__(self, x_t: jax.Array, t: jax.Array, s: jax.Array, /) -> jax.Array: ...


@runtime_checkable
class TwoTimeDenoiser(Protocol):
    """A flow map as predictions: the x_0 and eps for which x_s = alpha_s x_0 + sigma_s eps is the flow map.

    Since x_t = alpha_t x_0 + sigma_t eps holds for the same two, each of x_s and (x_0, eps) follows from the other. At
    s = t, and without s, it is a Denoiser.
    """

    def __call__(self, x_t: jax.Array, t: jax.Array, s: jax.Array | None = None, /) -> Prediction: ...


@runtime_checkable
class Network(Protocol):
    """A neural network of any library. Implement this to train and sample your own network.

    A network is a stateless object: its parameters are a pytree that `init` returns and every call takes. What the raw
    output means (eps, v, x_0, ...) is the parameterization's business, not the network's.

    conditions: the kinds of the conditions it takes, by name (diffax.conditions); {} for an unconditional one.

    For example, a network of Flax:

        class MyNetwork:
            conditions = {}
            def __init__(self):
                self.module = MyFlaxModule()
            def init(self, key, sample_shape):
                return self.module.init(key, jnp.zeros((1, *sample_shape)), jnp.zeros(1))
            def __call__(self, params, x, time_input, condition=None, *, key=None):
                return self.module.apply(params, x, time_input)
    """

    @property
    def conditions(self) -> Mapping[str, Any]: ...

    def init(self, key: jax.Array, sample_shape: tuple[int, ...]) -> Any:
        """Draws the initial parameters, a pytree of arrays.

        Args:
          key: one typed PRNG key.
          sample_shape: of one sample, without the batch axis: (height, width, channels) for images.
        """

    def __call__(
        self,
        params: Any,
        x: jax.Array,
        time_input: jax.Array,
        condition: dict[str, Any] | None = None,
        *,
        key: Keys | None = None,
    ) -> jax.Array:
        """The raw output, of x's shape; or with twice its channels, the second half being a learned variance.

        Args:
          params: what `init` returned, or trained from it.
          x: (batch, *sample_shape), x_t times the parameterization's input scale.
          time_input: (batch,), the time in the form of one of denoisers.time_inputs.
          condition: values of the conditions by name, of arrays with a batch axis; one that is missing is null, and
            None is no condition at all.
          key: one typed PRNG key per sample, (batch,), for dropout; None for no dropout.
        """
