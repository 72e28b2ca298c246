"""Distributions of training times (timestep sampling).

Each distribution has `quantile(schedule, u)`, its quantile function from u in [0, 1) to t, and
`log_density(schedule, t)`, the log of its density per unit of log-SNR, by which loss weightings stated per unit of
log-SNR divide. Because times are drawn through the quantile function, they can be independent or `Stratified`.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays
from diffax.typing import Keys, Numeric, Schedule

Times = Float[jax.Array, " batch"]


@runtime_checkable
class TimeDensity(Protocol):
    """A distribution of training times."""

    def sample(self, keys: Keys, schedule: Schedule) -> Times:
        """Draws one time per key, (batch,). The keys are those of the whole batch, in order."""

    def log_density(self, schedule: Schedule, t: Times) -> Times:
        """The log of the density per unit of log-SNR at t, (batch,)."""


class _Independent:
    """Base of distributions drawn independently: t of sample i depends on keys[i] alone."""

    def sample(self, keys: Keys, schedule: Schedule) -> Times:
        return self.quantile(schedule, jax.vmap(jax.random.uniform)(keys))  # type: ignore[attr-defined]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Uniform(_Independent):
    """Uniform times between `low` and `high`; rectified flow trains on [1e-3, 1]."""

    low: Numeric = 0.0
    high: Numeric = 1.0

    def quantile(self, schedule: Schedule, u: Times) -> Times:
        return self.low + (self.high - self.low) * u

    def log_density(self, schedule: Schedule, t: Times) -> Times:
        return -jnp.log(self.high - self.low) - _log_slope(schedule, t)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class DiscreteUniform(_Independent):
    """Uniform discrete times t = (i + 1) / T, i = 0..T-1, T = num_steps: DDPM (arXiv:2006.11239, algorithm 1)."""

    num_steps: int = dataclasses.field(default=1000, metadata={"static": True})

    def quantile(self, schedule: Schedule, u: Times) -> Times:
        return (jnp.minimum(jnp.floor(u * self.num_steps), self.num_steps - 1) + 1) / self.num_steps

    def log_density(self, schedule: Schedule, t: Times) -> Times:
        return -_log_slope(schedule, t)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Fixed(_Independent):
    """One time for all: t = 1 is one-step distillation on pairs of noise and data (arXiv:2209.03003, section 2.2).

    It has no density per unit of log-SNR, so that weightings stated per unit of log-SNR are up to a constant.
    """

    t: Numeric = 1.0

    def quantile(self, schedule: Schedule, u: Times) -> Times:
        return jnp.full_like(u, self.t)

    def log_density(self, schedule: Schedule, t: Times) -> Times:
        return jnp.zeros_like(t)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class LogitNormal(_Independent):
    """Logit-normal times, logit(t) ~ N(mean, std^2): Stable Diffusion 3 (arXiv:2403.03206, eq. 19)."""

    mean: Numeric = 0.0
    std: Numeric = 1.0

    def quantile(self, schedule: Schedule, u: Times) -> Times:
        return jax.nn.sigmoid(self.mean + self.std * _normal_quantile(u))

    def log_density(self, schedule: Schedule, t: Times) -> Times:
        t = jnp.clip(t, 1e-7, 1 - 1e-7)
        logit = jnp.log(t) - jnp.log1p(-t)
        normal = jax.scipy.stats.norm.logpdf(logit, self.mean, self.std)
        return normal - jnp.log(t) - jnp.log1p(-t) - _log_slope(schedule, t)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class LogNormalSigma(_Independent):
    """EDM's log-normal noise levels, log(sigma / alpha) ~ N(mean, std^2) (arXiv:2206.00364, table 1).

    Clipped to t in [0, 1].
    """

    mean: Numeric = -1.2
    std: Numeric = 1.2

    def quantile(self, schedule: Schedule, u: Times) -> Times:
        return jnp.clip(schedule.t_of_log_snr(-2 * (self.mean + self.std * _normal_quantile(u))), 0, 1)

    def log_density(self, schedule: Schedule, t: Times) -> Times:
        return jax.scipy.stats.norm.logpdf(schedule.log_snr(t), -2 * self.mean, 2 * self.std)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Stratified:
    """Stratified (low-discrepancy) times: sample i of B is drawn from the i-th of B strata of equal probability.

    VDM (arXiv:2107.00630, appendix I.1), with an independent offset in every stratum instead of a common one. It is
    unbiased, and t of sample i depends on keys[i], i and B alone.

    density: the distribution to stratify.
    """

    density: Uniform | DiscreteUniform | Fixed | LogitNormal | LogNormalSigma = Uniform()

    def sample(self, keys: Keys, schedule: Schedule) -> Times:
        u = jax.vmap(jax.random.uniform)(keys)
        return self.density.quantile(schedule, (jnp.arange(u.shape[0], dtype=u.dtype) + u) / u.shape[0])

    def log_density(self, schedule: Schedule, t: Times) -> Times:
        return self.density.log_density(schedule, t)


def _log_slope(schedule: Schedule, t: Times) -> Times:
    """log |d log_snr / dt|; very negative where log_snr is clipped to its limit."""
    _, slope = jax.jvp(schedule.log_snr, (t,), (jnp.ones_like(t),))
    return jnp.log(jnp.maximum(jnp.abs(slope), jnp.finfo(t.dtype).tiny))


def _normal_quantile(u: Times) -> Times:
    """The quantile function of the standard normal distribution, finite at u = 0."""
    return jax.scipy.special.ndtri(jnp.clip(u, 1e-7, 1 - 1e-7))
