"""Loss weightings: the weight of each noise level in the denoising loss, as a function of log-SNR.

Every weighting is stated for the squared error of eps, whatever the network outputs; losses.denoising converts it to
the error of the raw output. A weighting is called as weighting(log_snr, log_density) -> log weight. log_density is the
log of the density of training times per unit of log-SNR. Weightings that the literature states as an integral over
log-SNR (Variational, Sigmoid) divide by this density; the others ignore it.

Papers often state weights for other errors. With e_x, e_eps, e_v, e_u the errors of x_0, eps, v (variance preserving)
and flow velocity,

  |e_eps|^2 = SNR |e_x|^2 = |e_v|^2 / (1 + 1/SNR) = |e_u|^2 / (1 + SNR^-1/2)^2.
"""

import dataclasses
import statistics
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffax import arrays
from diffax.typing import Numeric

LogSnr = Float[jax.Array, " batch"]


@runtime_checkable
class Weighting(Protocol):
    """A loss weighting: (log_snr, log_density) to the log weight of the squared error of eps, all of shape (batch,)."""

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr: ...


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Uniform:
    """Uniform weighting, w = 1: DDPM's simple loss (arXiv:2006.11239, eq. 14).

    On the error of x_0 this is SNR weighting (arXiv:2202.00512, section 4).
    """

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return jnp.zeros_like(log_snr)


# The same weighting under the name that it has for x_0 prediction.
Snr = Uniform


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class TruncatedSnr:
    """Truncated SNR weighting, w = max(1, 1 / SNR), arXiv:2202.00512, section 4.

    On the error of x_0 this is max(SNR, 1).
    """

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return jnp.maximum(-log_snr, 0)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class MinSnr:
    """Min-SNR weighting, w = min(1, gamma / SNR), arXiv:2303.09556, section 3.4.

    On the error of x_0 this is min(SNR, gamma).
    """

    gamma: Numeric = 5.0

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return jnp.minimum(0, jnp.log(self.gamma) - log_snr)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class P2:
    """P2 weighting, w = 1 / (k + SNR)^gamma (arXiv:2204.00227, eq. 8)."""

    k: Numeric = 1.0
    gamma: Numeric = 1.0

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return -self.gamma * jnp.logaddexp(jnp.full_like(log_snr, jnp.log(self.k)), log_snr)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Edm:
    """EDM weighting, w = 1 + 1 / (SNR sigma_data^2): uniform on EDM's raw output F (arXiv:2206.00364, table 1)."""

    sigma_data: Numeric = 0.5

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return jax.nn.softplus(-log_snr - 2 * jnp.log(self.sigma_data))


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Velocity:
    """v-prediction weighting, w = 1 + 1 / SNR: uniform on v under a variance-preserving schedule.

    The "SNR+1" weighting of progressive distillation (arXiv:2202.00512, section 4).
    """

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return jax.nn.softplus(-log_snr)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Flow:
    """Flow matching weighting, w = (1 + SNR^-1/2)^2: uniform on the flow velocity u (arXiv:2209.03003, eq. 1)."""

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return 2 * jax.nn.softplus(-log_snr / 2)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Variational:
    """Variational (ELBO) weighting, 1/2 per unit of log-SNR.

    The expected loss is the diffusion term of the variational bound in nats per dimension: VDM (arXiv:2107.00630,
    eq. 17) in continuous time, for any density of training times that covers the range.
    """

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return -jnp.log(2.0).astype(log_snr.dtype) - log_density


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Sigmoid:
    """Sigmoid weighting, sigmoid(bias - log_snr) / 2 per unit of log-SNR.

    arXiv:2303.00848, section 4; 2410.19324 uses a bias of -3.
    """

    bias: Numeric = 0.0

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return -jnp.log(2.0).astype(log_snr.dtype) - jax.nn.softplus(log_snr - self.bias) - log_density


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Learned:
    """Learned loss weighting by uncertainty: EDM's weight times exp(-u), u a function of log-SNR learned beside it.

    EDM2 (arXiv:2312.02696, eq. 14 to 16 and 21): with the loss L of EDM's weight, L exp(-u) + u is minimised, so that u
    tends to the log of the mean L at each noise level, and all levels contribute alike to the network's gradient. u is
    one linear layer on Fourier features of log(sigma / alpha) / 4, and 0 at first. `initial` makes one.

    The weighted loss tends to 1 however good the network is: it tells nothing of quality, held-out or not.

    learning_rate: of `parameters`, by Adam; times the decay of the network's.
    frequencies: (num_features / 2,), not learned.
    parameters: {"weights": (num_features,), "bias": ()}.
    """

    sigma_data: Numeric
    learning_rate: Numeric
    frequencies: Any
    parameters: Any

    @classmethod
    def initial(cls, sigma_data: float = 0.5, *, num_features: int = 128, learning_rate: float = 1e-2) -> "Learned":
        """The weighting before training, which is EDM's.

        num_features: sines and cosines, of as many frequencies as half of them: evenly spaced quantiles of |f|, where
          EDM2 draws f from a standard normal distribution.

        Raises:
          ValueError: num_features that is not even and positive.
        """
        if num_features < 2 or num_features % 2:
            raise ValueError(f"num_features must be even and at least 2, got {num_features}")
        levels = 0.5 + (np.arange(num_features // 2) + 0.5) / num_features
        frequencies = np.array([statistics.NormalDist().inv_cdf(level) for level in levels])
        return cls(sigma_data, learning_rate, frequencies, {"weights": np.zeros(num_features), "bias": np.zeros(())})

    def __call__(self, log_snr: LogSnr, log_density: LogSnr, /) -> LogSnr:
        return Edm(self.sigma_data)(log_snr, log_density) - self.log_loss(log_snr)

    def log_loss(self, log_snr: LogSnr) -> LogSnr:
        """u, which learns the log of the mean loss under EDM's weight."""
        frequencies, weights, bias = (
            jnp.asarray(leaf, log_snr.dtype)
            for leaf in (self.frequencies, self.parameters["weights"], self.parameters["bias"])
        )
        angles = 2 * jnp.pi * (-log_snr / 8)[:, None] * frequencies[None]
        features = jnp.sqrt(2.0).astype(log_snr.dtype) * jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)
        return (features * weights[None]).mean(axis=1) * len(weights) ** 0.5 + bias

    def objective(self, loss: LogSnr, log_snr: LogSnr) -> LogSnr:
        """What the parameters minimise, per sample: L exp(-u) + u, with loss = L exp(-u) at log_snr."""
        return loss + self.log_loss(log_snr)
