"""Parameterizations (prediction types): what a network outputs, and its conversion to predictions of x_0 and eps.

Every parameterization has the same four methods:

  target(schedule, x_0, eps, t)           the training target of the raw output
  predict(schedule, net_out, x_t, t)      converts the raw output to Prediction(x_0, eps), each by its own formula
  network_input(schedule, x_t, t)         what the network is given: x_t, scaled (preconditioning) or with more channels
  log_error_scale(log_snr, log_norm)      log of |error of eps| / |error of the raw output|, in closed form in terms of
                                          the log-SNR and log sqrt(alpha^2 + sigma^2), finite wherever these are

and an attribute `divides_by`, the coefficient ("alpha", "sigma" or None) that its predict divides by; refuse_singular
uses it. A learned variance is split off before (denoisers.network).
"""

import dataclasses
import math
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffax import arrays
from diffax.schedules import LOG_SNR_LIMIT
from diffax.typing import Array, Numeric, Prediction, Schedule

Sample = Float[Array, "batch *dims"]


@runtime_checkable
class Parameterization(Protocol):
    """A prediction type: the four methods and the attribute described in this module's docstring."""

    divides_by: ClassVar[str | None]

    def target(self, schedule: Schedule, x_0: Sample, eps: Sample, t: Numeric) -> Sample: ...

    def predict(self, schedule: Schedule, net_out: Sample, x_t: Sample, t: Numeric) -> Prediction: ...

    def network_input(self, schedule: Schedule, x_t: Sample, t: Numeric) -> Array: ...

    def log_error_scale(self, log_snr: Array, log_norm: Array) -> Array: ...


class _Plain:
    """Base of the parameterizations without parameters whose network input is x_t itself."""

    divides_by: ClassVar[str | None] = None

    def network_input(self, schedule: Schedule, x_t: Sample, t: Numeric) -> Array:
        return x_t


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Eps(_Plain):
    """eps-prediction: the network outputs the noise eps (DDPM, arXiv:2006.11239, eq. 12).

    x_0 = (x_t - sigma eps) / alpha.
    """

    divides_by: ClassVar[str | None] = "alpha"

    def target(self, schedule: Schedule, x_0: Sample, eps: Sample, t: Numeric) -> Sample:
        return eps

    def predict(self, schedule: Schedule, net_out: Sample, x_t: Sample, t: Numeric) -> Prediction:
        alpha, sigma = _pair(schedule, x_t, t)
        return Prediction((x_t - sigma * net_out) / alpha, net_out)

    def log_error_scale(self, log_snr: Array, log_norm: Array) -> Array:
        return jnp.zeros_like(log_snr)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class X0(_Plain):
    """x_0-prediction: the network outputs the data x_0.

    eps = (x_t - alpha x_0) / sigma.
    """

    divides_by: ClassVar[str | None] = "sigma"

    def target(self, schedule: Schedule, x_0: Sample, eps: Sample, t: Numeric) -> Sample:
        return x_0

    def predict(self, schedule: Schedule, net_out: Sample, x_t: Sample, t: Numeric) -> Prediction:
        alpha, sigma = _pair(schedule, x_t, t)
        return Prediction(net_out, (x_t - alpha * net_out) / sigma)

    def log_error_scale(self, log_snr: Array, log_norm: Array) -> Array:
        return log_snr / 2


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class V(_Plain):
    """v-prediction: the network outputs v = alpha eps - sigma x_0 (arXiv:2202.00512, appendix D).

    Regular at every t.
    """

    def target(self, schedule: Schedule, x_0: Sample, eps: Sample, t: Numeric) -> Sample:
        alpha, sigma = _pair(schedule, x_0, t)
        return alpha * eps - sigma * x_0

    def predict(self, schedule: Schedule, net_out: Sample, x_t: Sample, t: Numeric) -> Prediction:
        alpha, sigma = _pair(schedule, x_t, t)
        square = alpha**2 + sigma**2
        return Prediction((alpha * x_t - sigma * net_out) / square, (sigma * x_t + alpha * net_out) / square)

    def log_error_scale(self, log_snr: Array, log_norm: Array) -> Array:
        return -jax.nn.softplus(-log_snr) / 2 - log_norm


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class FlowVelocity(_Plain):
    """Flow matching velocity: the network outputs u = eps - x_0, which is dx/dt on schedules.Flow.

    Rectified flow (arXiv:2209.03003), eq. 1, where time runs in the other direction. Regular at every t.
    """

    def target(self, schedule: Schedule, x_0: Sample, eps: Sample, t: Numeric) -> Sample:
        return eps - x_0

    def predict(self, schedule: Schedule, net_out: Sample, x_t: Sample, t: Numeric) -> Prediction:
        alpha, sigma = _pair(schedule, x_t, t)
        return Prediction((x_t - sigma * net_out) / (alpha + sigma), (x_t + alpha * net_out) / (alpha + sigma))

    def log_error_scale(self, log_snr: Array, log_norm: Array) -> Array:
        return -jax.nn.softplus(-log_snr / 2)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Score(_Plain):
    """Score prediction: the network outputs the gradient of log q(x_t) (arXiv:2011.13456, eq. 7).

    The target for given x_0 is -eps / sigma.
    """

    divides_by: ClassVar[str | None] = "alpha"

    def target(self, schedule: Schedule, x_0: Sample, eps: Sample, t: Numeric) -> Sample:
        _, sigma = _pair(schedule, x_0, t)
        # Where sigma = 0, sigma is that of the largest log_snr, so that the product with log_error_scale is finite.
        return -eps / arrays.namespace(sigma).maximum(sigma, math.exp(-LOG_SNR_LIMIT / 2))

    def predict(self, schedule: Schedule, net_out: Sample, x_t: Sample, t: Numeric) -> Prediction:
        alpha, sigma = _pair(schedule, x_t, t)
        return Prediction((x_t + sigma**2 * net_out) / alpha, -sigma * net_out)

    def log_error_scale(self, log_snr: Array, log_norm: Array) -> Array:
        return log_norm - jax.nn.softplus(log_snr) / 2


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Edm:
    """EDM preconditioning: the network outputs F (arXiv:2206.00364, eq. 7 and table 1), for any alpha and sigma.

    With S = sigma^2 + alpha^2 sd^2 and the network input x_t / sqrt(S):
      x_0 = alpha sd^2 x_t / S + sigma sd F / sqrt(S),   eps = sigma x_t / S - alpha sd F / sqrt(S).
    alpha = 1 gives the paper's c_skip, c_out and c_in. Regular at every t.

    sigma_data: (sd) the standard deviation of the data.
    """

    sigma_data: Numeric = 0.5
    divides_by: ClassVar[str | None] = None

    def network_input(self, schedule: Schedule, x_t: Sample, t: Numeric) -> Array:
        return self._c_in(schedule, x_t, t) * x_t

    def target(self, schedule: Schedule, x_0: Sample, eps: Sample, t: Numeric) -> Sample:
        alpha, sigma = _pair(schedule, x_0, t)
        c_in = self._c_in(schedule, x_0, t)
        return (sigma / self.sigma_data * x_0 - alpha * self.sigma_data * eps) * c_in

    def predict(self, schedule: Schedule, net_out: Sample, x_t: Sample, t: Numeric) -> Prediction:
        alpha, sigma = _pair(schedule, x_t, t)
        c_in = self._c_in(schedule, x_t, t)
        scaled, output = c_in**2 * x_t, self.sigma_data * c_in * net_out
        return Prediction(alpha * self.sigma_data**2 * scaled + sigma * output, sigma * scaled - alpha * output)

    def log_error_scale(self, log_snr: Array, log_norm: Array) -> Array:
        return -jax.nn.softplus(-log_snr - 2 * jnp.log(self.sigma_data)) / 2

    def _c_in(self, schedule: Schedule, x: Sample, t: Numeric) -> Array:
        alpha, sigma = _pair(schedule, x, t)
        return (sigma**2 + (alpha * self.sigma_data) ** 2) ** -0.5


def refuse_singular(parameterization: Parameterization, schedule: Schedule, times: np.ndarray) -> None:
    """Checks that a parameterization does not divide by zero at any of the times at which a network is evaluated.

    Raises:
      ValueError: naming the time and what to use instead.
    """
    if parameterization.divides_by is None:
        return
    zero = np.asarray(getattr(schedule, parameterization.divides_by)(np.asarray(times, np.float64))) == 0
    if zero.any():
        raise ValueError(
            f"{type(parameterization).__name__} divides by {parameterization.divides_by}, which is 0 at "
            f"t = {float(np.asarray(times)[zero][0]):g}: use V, FlowVelocity or Edm, or leave that time out"
        )


def _pair(schedule: Schedule, x: Sample, t: Numeric) -> tuple[Array, Array]:
    """(alpha_t, sigma_t) with trailing axes, to multiply x."""
    return arrays.expand_to(schedule.alpha(t), x), arrays.expand_to(schedule.sigma(t), x)
