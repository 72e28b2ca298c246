"""Where on [0, 1] training asks: densities of time, as maps from a uniform number to a time.

A density has `quantile(schedule, u)`, u in [0, 1) to t, and `log_density(schedule, t)`, the log of its density per unit
of log_snr, which weightings stated per unit of log_snr divide by. As maps of a uniform number they can be drawn
independently or `Stratified`.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays
from diffax.typing import Keys, Node, Numeric, Schedule

Times = Float[jax.Array, " batch"]


@runtime_checkable
class TimeDensity(Protocol):
    """How training times are drawn, and how densely per unit of log_snr."""

    def sample(self, keys: Keys, schedule: Schedule) -> Times:
        """One time per key; keys are those of the whole batch, in order."""

    def log_density(self, schedule: Schedule, t: Times) -> Times: ...


class _Independent:
    """Draws every sample by itself: t of sample i depends on keys[i] alone."""

    def sample(self, keys: Keys, schedule: Schedule) -> Times:
        return self.quantile(schedule, jax.vmap(jax.random.uniform)(keys))  # type: ignore[attr-defined]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Uniform(_Independent):
    """t uniform between `low` and `high` (rectified flow trains on [1e-3, 1])."""

    low: Node[Numeric] = 0.0
    high: Node[Numeric] = 1.0

    def quantile(self, schedule: Schedule, u: Times) -> Times:
        return self.low + (self.high - self.low) * u

    def log_density(self, schedule: Schedule, t: Times) -> Times:
        return -jnp.log(self.high - self.low) - _log_slope(schedule, t)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class DiscreteUniform(_Independent):
    """t = (i + 1) / T, i uniform among 0..T-1: DDPM's training times (arXiv:2006.11239, algorithm 1)."""

    num_steps: int = dataclasses.field(default=1000, metadata={"static": True})

    def quantile(self, schedule: Schedule, u: Times) -> Times:
        return (jnp.minimum(jnp.floor(u * self.num_steps), self.num_steps - 1) + 1) / self.num_steps

    def log_density(self, schedule: Schedule, t: Times) -> Times:
        return -_log_slope(schedule, t)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class LogitNormal(_Independent):
    """logit(t) ~ N(mean, std^2) (Stable Diffusion 3, arXiv:2403.03206, eq. 19)."""

    mean: Node[Numeric] = 0.0
    std: Node[Numeric] = 1.0

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
    """log(sigma / alpha) ~ N(mean, std^2), kept to t in [0, 1] (EDM, arXiv:2206.00364, table 1)."""

    mean: Node[Numeric] = -1.2
    std: Node[Numeric] = 1.2

    def quantile(self, schedule: Schedule, u: Times) -> Times:
        return jnp.clip(schedule.time_of(-2 * (self.mean + self.std * _normal_quantile(u))), 0, 1)

    def log_density(self, schedule: Schedule, t: Times) -> Times:
        return jax.scipy.stats.norm.logpdf(schedule.log_snr(t), -2 * self.mean, 2 * self.std)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Stratified:
    """Any density above, sample i of a batch of B from the i-th of B equal slices of probability.

    The low-discrepancy sampling of VDM (arXiv:2107.00630, appendix I.1) with a random offset in every slice instead of
    a common one: still unbiased, and t of sample i depends on keys[i], i and B alone.
    """

    density: Node[Uniform | DiscreteUniform | LogitNormal | LogNormalSigma]

    def sample(self, keys: Keys, schedule: Schedule) -> Times:
        u = jax.vmap(jax.random.uniform)(keys)
        return self.density.quantile(schedule, (jnp.arange(u.shape[0], dtype=u.dtype) + u) / u.shape[0])

    def log_density(self, schedule: Schedule, t: Times) -> Times:
        return self.density.log_density(schedule, t)


def _log_slope(schedule: Schedule, t: Times) -> Times:
    """log |d log_snr / dt|; very negative where log_snr has reached its limit."""
    _, slope = jax.jvp(schedule.log_snr, (t,), (jnp.ones_like(t),))
    return jnp.log(jnp.maximum(jnp.abs(slope), jnp.finfo(t.dtype).tiny))


def _normal_quantile(u: Times) -> Times:
    """The inverse of the standard normal distribution function, finite at u = 0."""
    return jax.scipy.special.ndtri(jnp.clip(u, 1e-7, 1 - 1e-7))
