"""The training step as a pure function: denoising loss, gradient, optimizer update and EMA."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax

from diffax import arrays, denoisers, losses, streams
from diffax.data.device_dataset import DeviceDataset
from diffax.denoisers.network import ApplyFn, TimeInput
from diffax.training import accumulation, ema
from diffax.training.learning_rate import LearningRateShape
from diffax.training.state import Hyperparameters, TrainState, sample_keys

Batch = dict[str, Any]
Metrics = dict[str, jax.Array]
# (keys, condition) -> the condition, null for some samples.
DropCondition = Callable[[jax.Array, Any], Any]
# (batch, one key per example) -> the batch as the loss takes it: images in the network's range, augmented.
Preprocess = Callable[[Batch, jax.Array], Batch]


@runtime_checkable
class BatchLoss(Protocol):
    """(params, hyperparameters, batch, keys, t) -> (batch,): the loss of every example, with one key each.

    t: training times, (batch,); None draws them by the keys.
    """

    def __call__(
        self,
        params: Any,
        hyperparameters: Hyperparameters,
        batch: Batch,
        keys: jax.Array,
        t: jax.Array | None = None,
        /,
    ) -> jax.Array: ...


def make_loss(
    apply_fn: ApplyFn,
    *,
    time_input: TimeInput,
    condition_names: tuple[str, ...] = (),
    drop_condition: DropCondition | None = None,
) -> BatchLoss:
    """The denoising loss of batch["x"] under its own condition, as a BatchLoss.

    A batch that has its noise, batch["eps"], is one of pairs: stored ones (data.pairs), or of a coupling. Otherwise the
    noise is drawn by the keys.

    Args:
      condition_names: the entries of a batch that are the network's conditions, such as "label"; one that a batch does
        not have is null.
      drop_condition: replaces conditions of some samples by their null values, for classifier-free guidance.
    """

    def loss(
        params: Any, hyperparameters: Hyperparameters, batch: Batch, keys: jax.Array, t: jax.Array | None = None
    ) -> jax.Array:
        loss_keys, drop_keys = arrays.split_keys(keys, 2)
        condition = {name: batch[name] for name in condition_names if name in batch} or None
        if condition is not None and drop_condition is not None:
            condition = drop_condition(drop_keys, condition)
        schedule, parameterization = hyperparameters.schedule, hyperparameters.parameterization
        predict = denoisers.raw_network(
            apply_fn, params, schedule, parameterization, time_input=time_input, condition=condition
        )
        reference = hyperparameters.reference
        return losses.denoising(
            loss_keys,
            predict,
            schedule,
            parameterization,
            batch["x"],
            weighting=hyperparameters.weighting,
            time_density=hyperparameters.time_density,
            eps=batch.get("eps"),
            t=t,
            teacher=None if reference is None else denoisers.empirical(schedule, reference),
        )

    return loss


def draw_times(hyperparameters: Hyperparameters, keys: jax.Array) -> jax.Array:
    """The times that a loss of make_loss draws by the keys of a whole batch."""
    loss_keys, _ = arrays.split_keys(keys, 2)
    return losses.draw_times(loss_keys, hyperparameters.schedule, hyperparameters.time_density)


def make_train_step(
    loss: BatchLoss,
    optimizer: optax.GradientTransformation,
    shape: LearningRateShape,
    *,
    preprocess: Preprocess | None = None,
    accumulate: int = 1,
) -> Callable[[TrainState, Batch | DeviceDataset], tuple[TrainState, Metrics]]:
    """train_step(state, batch) -> (state, metrics): one update of the parameters and of their averages.

    Every random number is a function of the state's key, its step and the example's place in the batch. Metrics are
    the mean loss, the global norm of the gradient before clipping, the learning rate, and how many steps were skipped,
    in all and in a row up to this one. A step whose loss or gradient is not finite is skipped: it changes nothing but
    the step count. A batch may be a data set on the device, of which the step gathers its own batch.

    Args:
      shape: the learning-rate schedule, a fraction of the peak.
      preprocess: what is done to a batch first: bytes to the network's range, augmentation.
      accumulate: gradient accumulation over so many parts of a batch, to save memory; with the same draws and, to
        rounding, the same gradients.
    """

    def train_step(state: TrainState, batch: Batch | DeviceDataset) -> tuple[TrainState, Metrics]:
        if isinstance(batch, DeviceDataset):
            batch = batch.batch(state.step)
        keys = sample_keys(state.key, state.step, len(batch["x"]))
        batch = preprocessed(batch, keys, preprocess)

        value, grads = _value_and_grad(loss, state, batch, keys, accumulate)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        learning_rate = state.hyperparameters.learning_rate * jnp.asarray(shape(state.step), jnp.float32)
        params = jax.tree.map(lambda p, u: p - learning_rate.astype(p.dtype) * u, state.params, updates)
        averages = tuple(
            ema.update(average, params, averaging.share(state.step, len(keys)))
            for average, averaging in zip(state.ema, state.hyperparameters.averagings, strict=True)
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
        return loss(params, state.hyperparameters, *examples).mean()

    if num_parts == 1:
        return jax.value_and_grad(mean_loss)(state.params, batch, keys)
    # A time may depend on the example's place in the whole batch.
    t = draw_times(state.hyperparameters, keys).astype(batch["x"].dtype)
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


def preprocessed(batch: Batch, keys: jax.Array, preprocess: Preprocess | None) -> Batch:
    """The batch after preprocessing, with keys of its own derived from the examples' keys."""
    if preprocess is None:
        return batch
    batch = preprocess(batch, jax.vmap(lambda key: jax.random.fold_in(key, streams.PREPROCESS))(keys))
    # What follows is compiled alike, to the bit, whether the batch was made in this program or before.
    return jax.lax.optimization_barrier(batch)
