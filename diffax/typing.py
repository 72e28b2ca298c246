"""The words the rooms of diffax share: array aliases, the Schedule and Denoiser protocols, and Prediction."""

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np

if TYPE_CHECKING:
    # Which of the two libraries' arrays comes out follows from what goes in: more than static types can say.
    Array = Any
    Numeric = Any
    _Held = TypeVar("_Held")
    Node = Annotated[_Held, "a field of a pytree"]
else:
    # NumPy's own scalars count as arrays: they are what its functions make of arrays of shape ().
    Array = jax.Array | np.ndarray | np.generic
    # A time, a coefficient, a log-SNR: a number or an array of any shape. NumPy in, NumPy out; JAX in, JAX out.
    Numeric = Array | float | int

    class Node:
        """Node[Numeric] is a Numeric to readers and static checkers, and anything at all while the program runs.

        JAX rebuilds pytrees around None (vmap's in_axes), object() and shapes, so a run-time checker must let them in.
        """

        def __class_getitem__(cls, held: Any) -> Any:
            return Any


# Typed PRNG keys, one per sample: shape (batch,).
Keys = jax.Array


@runtime_checkable
class Schedule(Protocol):
    """x_t = alpha(t) x_0 + sigma(t) eps for t in [0, 1]; t = 0 is data, t = 1 is noise.

    Every method takes a t (or log-SNR) of any shape and returns the same shape. Our alpha is the factor of the mean:
    the alpha_bar_t of DDPM (arXiv:2006.11239) and the alpha_t of DDIM (arXiv:2010.02502) are alpha(t) squared.
    """

    def alpha(self, t: Numeric) -> Array: ...

    def sigma(self, t: Numeric) -> Array: ...

    def log_snr(self, t: Numeric) -> Array:
        """2 log(alpha / sigma), decreasing in t, in nats, limited to +-schedules.LOG_SNR_LIMIT."""

    def time_of(self, log_snr: Numeric) -> Array:
        """The inverse of log_snr."""


class Prediction(NamedTuple):
    """Both halves of what x_t is made of; where a network has learned it, also the variance of a reverse step.

    variance is its place between DDPM's two, in logarithms: 0 the small one, 1 the large (arXiv:2102.09672, eq. 15).
    """

    x_0: jax.Array
    eps: jax.Array
    variance: jax.Array | None = None


@runtime_checkable
class Denoiser(Protocol):
    """x_t (batch, *dims) and t, a scalar or (batch,), to a Prediction of x_t's shape."""

    def __call__(self, x_t: jax.Array, t: jax.Array, /) -> Prediction: ...
