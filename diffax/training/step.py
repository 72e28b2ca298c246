"""The training step, as a pure function."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax

from diffax import arrays, denoisers, losses
from diffax.data.resident import Resident
from diffax.denoisers.network import ApplyFn, TimeInput
from diffax.training import accumulation, ema
from diffax.training.optimizer import LearningRateShape
from diffax.training.state import Numbers, TrainState, evaluation_keys, sample_keys
from diffax.typing import Array

Batch = dict[str, Array]
_VIEW = 1 << 30  # the stream of an example's key that its view draws from
Metrics = dict[str, jax.Array]
# (keys, condition) -> the condition with some samples' nulled.
DropCondition = Callable[[jax.Array, Any], Any]
# (batch, one key per example) -> the batch as the loss wants it: images in the network's range, augmented.
View = Callable[[Batch, jax.Array], Batch]


@runtime_checkable
class BatchLoss(Protocol):
    """(params, numbers, batch, keys) -> (batch,), with one key per example; times as given, else drawn by the keys."""

    def __call__(
        self, params: Any, numbers: Numbers, batch: Batch, keys: jax.Array, t: jax.Array | None = None, /
    ) -> jax.Array: ...


def make_loss(
    apply_fn: ApplyFn,
    *,
    time_input: TimeInput,
    condition_names: tuple[str, ...] = (),
    drop_condition: DropCondition | None = None,
    reference: Array | None = None,
) -> BatchLoss:
    """loss(params, numbers, batch, keys) -> (batch,): the denoising loss of batch["x"] under its own condition.

    Args:
      condition_names: the entries of a batch that the network is told, such as "label"; none for an unconditional one.
      drop_condition: nulls some of them, for classifier-free guidance.
      reference: the training data (n, *dims), or a large part of it, whose exact denoiser is then what the network
        learns (stable targets, arXiv:2302.00670); for an unconditional network.
    """

    def loss(params: Any, numbers: Numbers, batch: Batch, keys: jax.Array, t: jax.Array | None = None) -> jax.Array:
        loss_keys, drop_keys = arrays.split_keys(keys, 2)
        condition = {name: batch[name] for name in condition_names} or None
        if condition is not None and drop_condition is not None:
            condition = drop_condition(drop_keys, condition)
        predict = denoisers.raw_network(
            apply_fn, params, numbers.schedule, numbers.parameterization, time_input=time_input, condition=condition
        )
        return losses.denoising(
            loss_keys,
            predict,
            numbers.schedule,
            numbers.parameterization,
            batch["x"],
            weighting=numbers.weighting,
            time_density=numbers.time_density,
            t=t,
            teacher=None if reference is None else denoisers.empirical(numbers.schedule, reference),
        )

    return loss


def draw_times(numbers: Numbers, keys: jax.Array) -> jax.Array:
    """The times that a loss of make_loss draws by the keys of a whole batch."""
    loss_keys, _ = arrays.split_keys(keys, 2)
    return losses.draw_times(loss_keys, numbers.schedule, numbers.time_density)


def make_train_step(
    loss: BatchLoss,
    optimizer: optax.GradientTransformation,
    shape: LearningRateShape,
    *,
    view: View | None = None,
    accumulate: int = 1,
) -> Callable[[TrainState, Batch | Resident], tuple[TrainState, Metrics]]:
    """train_step(state, batch) -> (state, metrics): one update of the parameters and of their average.

    Every random number is a function of the state's key, its step and the example's place in the batch. Metrics are
    the mean loss, the global norm of the gradient before clipping, the learning rate, and how many steps were skipped,
    in all and in a row up to this one: those whose loss or gradient is not finite, which change nothing but the step.
    A batch may be a dataset on the device, of which the step takes its own.

    Args:
      accumulate: parts that a batch is worked through in, for its memory; the same draws and, to rounding, gradients.
    """

    def train_step(state: TrainState, batch: Batch | Resident) -> tuple[TrainState, Metrics]:
        if isinstance(batch, Resident):
            batch = batch.batch(state.step)
        keys = sample_keys(state.key, state.step, len(batch["x"]))
        batch = seen(batch, keys, view)

        value, grads = _value_and_grad(loss, state, batch, keys, accumulate)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        learning_rate = state.numbers.learning_rate * jnp.asarray(shape(state.step), jnp.float32)
        params = jax.tree.map(lambda p, u: p - learning_rate.astype(p.dtype) * u, state.params, updates)
        averages = tuple(
            ema.update(average, params, averaging.share(state.step, len(keys)))
            for average, averaging in zip(state.ema, state.numbers.averagings, strict=True)
        )
        updated = dataclasses.replace(state, params=params, opt_state=opt_state, ema=averages)
        grad_norm = optax.tree.norm(grads)
        state = _advanced(state, updated, jnp.isfinite(value) & jnp.isfinite(grad_norm))
        metrics = {"loss": value, "grad_norm": grad_norm, "learning_rate": learning_rate}
        return state, metrics | {"skipped": state.skipped, "skipped_in_a_row": state.skipped_in_a_row}

    return train_step


def _value_and_grad(
    loss: BatchLoss, state: TrainState, batch: Batch, keys: jax.Array, num_parts: int
) -> tuple[jax.Array, Any]:
    """The mean loss of a batch and its gradient."""

    def mean_loss(params: Any, *examples: Any) -> jax.Array:
        return loss(params, state.numbers, *examples).mean()

    if num_parts == 1:
        return jax.value_and_grad(mean_loss)(state.params, batch, keys)
    # A time may depend on the example's place in the whole batch.
    t = draw_times(state.numbers, keys).astype(batch["x"].dtype)
    return accumulation.value_and_grad(mean_loss, state.params, (batch, keys, t), num_parts)


def _advanced(before: TrainState, updated: TrainState, finite: jax.Array) -> TrainState:
    """The updated state, or the one before where the update was not finite, a step further either way."""

    # A choice per number and not a branch: the compiler makes it while it writes the update.
    def choose(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda *numbers: jnp.where(finite, *numbers), new, old)

    return dataclasses.replace(
        updated,
        step=before.step + 1,
        params=choose(updated.params, before.params),
        opt_state=choose(updated.opt_state, before.opt_state),
        ema=choose(updated.ema, before.ema),
        skipped=before.skipped + (~finite).astype(jnp.int32),
        skipped_in_a_row=jnp.where(finite, 0, before.skipped_in_a_row + 1),
    )


def make_held_out_loss(loss: BatchLoss, *, view: View | None = None) -> Callable[[TrainState, Batch], jax.Array]:
    """held_out_loss(state, batch) -> the mean loss of the first average, on the same noise every time."""

    def held_out_loss(state: TrainState, batch: Batch) -> jax.Array:
        keys = evaluation_keys(state.key, len(batch["x"]))
        return loss(state.ema[0], state.numbers, seen(batch, keys, view), keys).mean()

    return held_out_loss


def seen(batch: Batch, keys: jax.Array, view: View | None) -> Batch:
    """The batch under its view, by keys of its own."""
    if view is None:
        return batch
    batch = view(batch, jax.vmap(lambda key: jax.random.fold_in(key, _VIEW))(keys))
    # What follows is compiled alike, to the bit, whether the batch was made in this program or before.
    return jax.lax.optimization_barrier(batch)
