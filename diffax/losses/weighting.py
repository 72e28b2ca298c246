"""How much each noise level counts, stated once: the log weight of the squared error of eps, as a function of log_snr.

A weighting is called as weighting(log_snr, log_density) -> log weight, where log_density is the log of the density of
training times per unit of log_snr; those that the literature states as an integral over log_snr (Variational, Sigmoid)
divide by it, the rest ignore it. What a network outputs does not matter here: losses.denoising turns the weight into
one of the raw output's own error. Weights of the literature are often stated for other errors; with e_x, e_eps, e_v,
e_u the errors of x_0, eps, v (variance preserving) and flow velocity,

  |e_eps|^2 = SNR |e_x|^2 = |e_v|^2 / (1 + 1/SNR) = |e_u|^2 / (1 + SNR^-1/2)^2.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays
from diffax.typing import Node, Numeric

LogSnr = Float[jax.Array, " batch"]


@runtime_checkable
class Weighting(Protocol):
    """(log_snr, log_density) to the log weight of eps's squared error."""

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr: ...


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Uniform:
    """1: DDPM's simple loss (arXiv:2006.11239, eq. 14). On x_0 this is SNR weighting (arXiv:2202.00512, section 4)."""

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return jnp.zeros_like(log_snr)


# The same weight under the name it has where x_0 is predicted.
Snr = Uniform


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class TruncatedSnr:
    """max(1, 1 / SNR): on x_0, max(SNR, 1) (arXiv:2202.00512, section 4)."""

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return jnp.maximum(-log_snr, 0)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class MinSnr:
    """min(1, gamma / SNR): on x_0, min(SNR, gamma) (arXiv:2303.09556, section 3.4)."""

    gamma: Node[Numeric] = 5.0

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return jnp.minimum(0, jnp.log(self.gamma) - log_snr)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class P2:
    """1 / (k + SNR)^gamma (arXiv:2204.00227, eq. 8)."""

    k: Node[Numeric] = 1.0
    gamma: Node[Numeric] = 1.0

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return -self.gamma * jnp.logaddexp(jnp.full_like(log_snr, jnp.log(self.k)), log_snr)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Edm:
    """1 + 1 / (SNR sigma_data^2): uniform on EDM's raw output F (arXiv:2206.00364, table 1)."""

    sigma_data: Node[Numeric] = 0.5

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return jax.nn.softplus(-log_snr - 2 * jnp.log(self.sigma_data))


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Velocity:
    """1 + 1 / SNR: uniform on v under a variance-preserving schedule ("SNR+1" of arXiv:2202.00512, section 4)."""

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return jax.nn.softplus(-log_snr)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Flow:
    """(1 + SNR^-1/2)^2: uniform on the flow velocity u (arXiv:2209.03003, eq. 1)."""

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return 2 * jax.nn.softplus(-log_snr / 2)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Variational:
    """1/2 per unit of log_snr: the expected loss is the diffusion part of the bound in nats per dimension.

    VDM (arXiv:2107.00630, eq. 17) in continuous time, for any density of training times that covers the range.
    """

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return -jnp.log(2.0).astype(log_snr.dtype) - log_density


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Sigmoid:
    """sigmoid(bias - log_snr) / 2 per unit of log_snr (arXiv:2303.00848, section 4; bias -3 in 2410.19324)."""

    bias: Node[Numeric] = 0.0

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return -jnp.log(2.0).astype(log_snr.dtype) - jax.nn.softplus(log_snr - self.bias) - log_density
