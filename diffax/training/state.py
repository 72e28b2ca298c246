"""Everything a training step reads and writes."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from diffax import arrays
from diffax.losses.weighting import Weighting
from diffax.processes import Parameterization
from diffax.processes.time_sampling import TimeDensity
from diffax.training import ema
from diffax.typing import Node, Numeric, Schedule


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Numbers:
    """The numbers of a run that reach the compiled step as arguments: changing or batching them compiles nothing anew.

    schedule, parameterization, weighting and time_density are pytrees whose leaves are their numbers.
    """

    learning_rate: Node[Numeric]
    averagings: Node[tuple[ema.Averaging, ...]]
    schedule: Node[Schedule]
    parameterization: Node[Parameterization]
    weighting: Node[Weighting]
    time_density: Node[TimeDensity]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class TrainState:
    """step: steps made so far. key: the run's one seed, never advanced. ema: the averages of params, one for each
    of numbers.averagings; the first is what the run is judged by.

    skipped: how many of the steps changed nothing, their loss or gradient not being finite; skipped_in_a_row: the
    last ones.

    numbers come from the config; a checkpoint holds all the rest (`saved`).
    """

    step: Node[jax.Array]
    key: Node[jax.Array]
    params: Any
    opt_state: Node[optax.OptState]
    ema: Node[tuple[Any, ...]]
    skipped: Node[jax.Array]
    skipped_in_a_row: Node[jax.Array]
    numbers: Node[Numbers]

    def saved(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "step": self.step,
            "key": self.key,
            "params": self.params,
            "opt_state": self.opt_state,
            "ema": self.ema,
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
        }

    def with_saved(self, saved: dict[str, Any]) -> "TrainState":
        """This state continued from a checkpoint, with its own numbers."""
        return dataclasses.replace(self, **saved)


def init_state(
    seed: Numeric, init_params: Callable[[jax.Array], Any], optimizer: optax.GradientTransformation, numbers: Numbers
) -> TrainState:
    """The state before the first step. Run it under jit or eval_shape.

    Args:
      init_params: a key to parameters.
    """
    key = jax.random.key(seed)
    params = init_params(jax.random.fold_in(key, _INIT))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        params=params,
        opt_state=optimizer.init(params),
        ema=tuple(jax.tree.map(jnp.copy, params) for _ in numbers.averagings),
        skipped=jnp.zeros((), jnp.int32),
        skipped_in_a_row=jnp.zeros((), jnp.int32),
        numbers=jax.tree.map(lambda number: jnp.asarray(number, jnp.result_type(float)), numbers),
    )


# Streams of the one seed: what a key is for.
_INIT, _TRAIN, _EVALUATE = range(3)


def sample_keys(state_key: jax.Array, step: Numeric, num_examples: int) -> jax.Array:
    """One key for each example of the global batch at a step: a function of (seed, step, example) alone."""
    return _keys(jax.random.fold_in(jax.random.fold_in(state_key, _TRAIN), step), num_examples)


def evaluation_keys(state_key: jax.Array, num_examples: int) -> jax.Array:
    """Keys for held-out losses: the same at every step, so that noise does not hide progress."""
    return _keys(jax.random.fold_in(state_key, _EVALUATE), num_examples)


def _keys(key: jax.Array, num_examples: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(num_examples))
