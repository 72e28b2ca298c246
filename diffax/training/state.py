"""The training state: parameters, optimizer state, exponential moving averages, and the run's hyperparameters."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from diffax import arrays, streams
from diffax.losses import Population, Representation
from diffax.losses.weighting import Weighting
from diffax.processes import NORMAL, Noise, Parameterization
from diffax.processes.importance_sampling import Adaptive
from diffax.processes.time_sampling import TimeDensity
from diffax.training import ema, learned
from diffax.training.teacher import Teacher
from diffax.typing import Array, Numeric, Schedule


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """The numbers of a run that the compiled step takes as arguments: changing or batching them recompiles nothing.

    schedule, parameterization, weighting, time_density, noise and averagings are pytrees whose leaves are their
      numbers.
    averagings: the rules of the exponential moving averages, in the order of their names.
    reference: the training data (n, *dims) in the network's range, whose exact denoiser is the regression target
      (stable targets, arXiv:2302.00670); None for the usual target.
    representation: the features in which a loss compares generated samples with data; None for losses that do not.
    teacher: a trained network whose denoiser is the regression target, distillation; None for the usual target.
    progress: how much of the training is done, in [0, 1], for losses with a curriculum; the training step sets it, and
      outside it is 1, the objective that a curriculum ends with.
    """

    learning_rate: Numeric
    averagings: tuple[ema.Averaging, ...]
    schedule: Schedule
    parameterization: Parameterization
    weighting: Weighting
    time_density: TimeDensity
    noise: Noise = NORMAL
    reference: Array | None = None
    representation: Representation | None = None
    teacher: Teacher | None = None
    progress: Numeric = 1.0


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class TrainState:
    """What a training step reads and writes.

    step: optimizer steps made so far.
    key: the key of the run's seed, never advanced.
    ema: the exponential moving averages of params, one for each of hyperparameters.averagings, as a tuple; the run is
      judged by the first.
    skipped: how many of the steps changed nothing, since their loss or gradient was not finite; skipped_in_a_row: the
      latest ones.
    hyperparameters: from the configuration; a checkpoint holds everything else (`saved`).
    learned: parameters and optimizer state of the hyperparameters' learned parts (training.learned), {} for none.
    history: what an adaptive density of training times remembers; () for all others.
    population: the generated samples that the loss remembers, by their moments; () for losses without representation.
    """

    step: jax.Array
    key: jax.Array
    params: Any
    opt_state: optax.OptState
    ema: tuple[Any, ...]
    skipped: jax.Array
    skipped_in_a_row: jax.Array
    hyperparameters: Hyperparameters
    learned: dict[str, Any] = dataclasses.field(default_factory=dict)
    history: Any = ()
    population: Population | tuple[()] = ()

    def saved(self) -> dict[str, Any]:
        """What a checkpoint holds. Averages are named by their index, so that one can be restored by itself."""
        empty = {name for name in ("history", "learned", "population") if not jax.tree.leaves(getattr(self, name))}
        without = {"hyperparameters", *empty}
        fields = (field.name for field in dataclasses.fields(self))
        saved = {name: getattr(self, name) for name in fields if name not in without}
        return saved | {"ema": {str(index): average for index, average in enumerate(self.ema)}}

    def with_saved(self, saved: dict[str, Any]) -> "TrainState":
        """This state continued from a checkpoint, with its own hyperparameters."""
        averages = tuple(saved["ema"][str(index)] for index in range(len(self.ema)))
        return dataclasses.replace(self, **saved | {"ema": averages})


def init_key(seed: Numeric) -> jax.Array:
    """The key of which initial parameters are drawn."""
    return jax.random.fold_in(jax.random.key(seed), streams.INIT)


def init_state(
    seed: Numeric,
    init_params: Callable[[jax.Array], Any],
    optimizer: optax.GradientTransformation,
    hyperparameters: Hyperparameters,
) -> TrainState:
    """The state before the first step. Run it under jit or eval_shape.

    Args:
      init_params: a key to initial parameters.
    """
    key = jax.random.key(seed)
    hyperparameters = jax.tree.map(lambda number: jnp.asarray(number, jnp.result_type(float)), hyperparameters)
    params = init_params(init_key(seed))
    density = hyperparameters.time_density
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        params=params,
        opt_state=optimizer.init(params),
        ema=tuple(jax.tree.map(jnp.copy, params) for _ in hyperparameters.averagings),
        history=density.init_history() if isinstance(density, Adaptive) else (),
        population=() if hyperparameters.representation is None else hyperparameters.representation.init_population(),
        skipped=jnp.zeros((), jnp.int32),
        skipped_in_a_row=jnp.zeros((), jnp.int32),
        hyperparameters=hyperparameters,
        learned=learned.initial(hyperparameters),
    )


def sample_keys(state_key: jax.Array, step: Numeric, num_examples: int) -> jax.Array:
    """One key for each example of the global batch at a step: a function of (seed, step, example) alone."""
    return _keys(jax.random.fold_in(jax.random.fold_in(state_key, streams.TRAIN), step), num_examples)


def evaluation_keys(state_key: jax.Array, num_examples: int) -> jax.Array:
    """Keys for held-out losses: the same at every step, so that noise does not hide progress."""
    return _keys(jax.random.fold_in(state_key, streams.EVALUATE), num_examples)


def _keys(key: jax.Array, num_examples: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(num_examples))
