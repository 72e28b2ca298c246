"""Importance sampling of training times: distributions that follow the losses of past steps.

An adaptive distribution draws times where the loss needs more of them, and has weights that make up for it: the mean of
weight times loss is what it is under the distribution that it stands in for, for any loss. What it remembers of past
losses is its history, a part of the training state.
"""

import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from diffax import arrays
from diffax.processes.time_sampling import DiscreteUniform, Times
from diffax.typing import Keys, Numeric, Schedule


@runtime_checkable
class Adaptive(Protocol):
    """A time density (time_sampling.TimeDensity) that follows the losses; without a history, as before training.

    log_density is that of the distribution that it stands in for, so that loss weightings are unaffected.
    """

    def sample(self, keys: Keys, schedule: Schedule) -> Times: ...

    def log_density(self, schedule: Schedule, t: Times) -> Times: ...

    def init_history(self) -> Any:
        """The history before training, a pytree of arrays."""

    def with_history(self, history: Any) -> "Adaptive":
        """This distribution with a history."""

    def importance_weight(self, t: Times) -> Times:
        """The probability of t in the distribution that this one stands in for, over its probability here, (batch,)."""

    def updated(self, t: Times, losses: Times) -> Any:
        """The history after a training step with these times and losses, (batch,), not weighted."""


class LossHistory(NamedTuple):
    """The latest losses of each of T steps, (T, length), in no order; how many losses each has had, (T,)."""

    losses: Float[jax.Array, "steps length"]
    counts: Int[jax.Array, " steps"]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class LossSecondMoment:
    """Discrete times t = (i + 1) / T in proportion to sqrt(E[loss_i^2]): improved DDPM (arXiv:2102.09672, eq. 18).

    The expectation is over the latest losses of each step. Until every step has had so many, times are uniform. It
    stands in for DiscreteUniform(T), and lowers the variance of a loss whose size differs between steps, such as the
    variational bound.

    num_steps: T. history_length: how many losses of each step are remembered. uniform_share: the probability of drawing
    uniformly instead, so that no step is forgotten; the last two are those of the paper's code.
    """

    num_steps: int = dataclasses.field(default=1000, metadata={"static": True})
    history_length: int = dataclasses.field(default=10, metadata={"static": True})
    uniform_share: Numeric = 0.001
    history: LossHistory | None = None

    def probabilities(self) -> Float[jax.Array, " steps"]:
        """The probability of each step, (T,)."""
        uniform = jnp.full(self.num_steps, 1 / self.num_steps)
        if self.history is None:
            return uniform
        moments = jnp.sqrt(jnp.mean(self.history.losses**2, axis=1))
        share = moments / jnp.maximum(moments.sum(), jnp.finfo(moments.dtype).tiny)
        mixed = (1 - self.uniform_share) * share + self.uniform_share * uniform
        is_known = jnp.all(self.history.counts >= self.history_length) & (moments.sum() > 0)
        return jnp.where(is_known, mixed, uniform)

    def sample(self, keys: Keys, schedule: Schedule) -> Times:
        u = jax.vmap(jax.random.uniform)(keys)
        cumulative = jnp.cumsum(self.probabilities())
        # The first step whose cumulative probability is above u; the last of them is 1 up to rounding.
        index = jnp.searchsorted(cumulative / cumulative[-1], u, side="right")
        return ((jnp.minimum(index, self.num_steps - 1) + 1) / self.num_steps).astype(u.dtype)

    def log_density(self, schedule: Schedule, t: Times) -> Times:
        return DiscreteUniform(self.num_steps).log_density(schedule, t)

    def init_history(self) -> LossHistory:
        return LossHistory(jnp.zeros((self.num_steps, self.history_length)), jnp.zeros(self.num_steps, jnp.int32))

    def with_history(self, history: LossHistory) -> "LossSecondMoment":
        return dataclasses.replace(self, history=history)

    def importance_weight(self, t: Times) -> Times:
        return (1 / (self.num_steps * self.probabilities()[self._index(t)])).astype(t.dtype)

    def updated(self, t: Times, losses: Times) -> LossHistory:
        assert self.history is not None, "an adaptive density in training has a history"
        index, (past, counts) = self._index(t), self.history
        # Of several losses of one step, each takes the next place, and only the latest `history_length` are kept.
        is_same = index[:, None] == index[None, :]
        rank = jnp.tril(is_same, -1).sum(1)
        is_kept = rank >= is_same.sum(1) - self.history_length
        place = (counts[index] + rank) % self.history_length
        row = jnp.where(is_kept, index, self.num_steps)  # beyond the last row: dropped
        return LossHistory(past.at[row, place].set(losses.astype(past.dtype), mode="drop"), counts.at[index].add(1))

    def _index(self, t: Times) -> Int[jax.Array, " batch"]:
        return jnp.clip(jnp.round(t * self.num_steps).astype(jnp.int32) - 1, 0, self.num_steps - 1)
