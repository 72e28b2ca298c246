"""The training step as a pure function: loss, gradient, optimizer update and EMA."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax

from diffax import arrays, denoisers, losses, processes, streams
from diffax.data.device_dataset import DeviceDataset
from diffax.denoisers.network import ApplyFn, TimeInput
from diffax.processes.importance_sampling import Adaptive
from diffax.processes.time_sampling import TimeDensity
from diffax.training import accumulation, ema, learned
from diffax.training.learning_rate import LearningRateShape
from diffax.training.state import Hyperparameters, TrainState, sample_keys
from diffax.typing import Schedule

Batch = dict[str, Any]
Metrics = dict[str, jax.Array]
# (keys, condition) -> the condition, null for some samples.
DropCondition = Callable[[jax.Array, Any], Any]
# A condition to (it without what guidance acts on, which samples (batch,) had none of that anyway).
NullCondition = Callable[[Any], tuple[Any, jax.Array]]
# (batch, one key per example) -> the batch as the loss takes it: images in the network's range, augmented.
Preprocess = Callable[[Batch, jax.Array], Batch]


@runtime_checkable
class BatchLoss(Protocol):
    """(params, hyperparameters, batch, keys, t) -> (batch,): the loss of every example, with one key each.

    t: training times, (batch,); None draws them by the keys. Where hyperparameters.representation has a population of
    generated samples, a loss that uses it returns (losses, the next population).
    """

    def __call__(
        self,
        params: Any,
        hyperparameters: Hyperparameters,
        batch: Batch,
        keys: jax.Array,
        t: jax.Array | None = None,
        /,
    ) -> jax.Array | tuple[jax.Array, Any]: ...


def make_loss(
    apply_fn: ApplyFn,
    *,
    time_input: TimeInput,
    loss: losses.Loss = losses.denoising,
    condition_names: tuple[str, ...] = (),
    drop_condition: DropCondition | None = None,
    class_condition: str | None = None,
    needs_representation: bool = False,
    unconditional: NullCondition | None = None,
) -> BatchLoss:
    """The loss of a network on batch["x"] under its own condition, as a BatchLoss.

    A batch that has its noise, batch["eps"], is one of pairs: stored ones (data.pairs), or of a coupling. Otherwise the
    noise is drawn by the keys.

    Args:
      loss: one of losses, with its options set.
      condition_names: the entries of a batch that are the network's conditions, such as "label"; one that a batch does
        not have is null.
      drop_condition: replaces conditions of some samples by their null values, for classifier-free guidance.
      class_condition: the condition that the loss takes as `labels`, for losses that have them.
      needs_representation: whether the loss is to have features, hyperparameters.representation.
      unconditional: replaces conditions of all samples by their null values, for losses that fold guidance into
        training and take `unconditional`.
    """

    def batch_loss(
        params: Any, hyperparameters: Hyperparameters, batch: Batch, keys: jax.Array, t: jax.Array | None = None
    ) -> jax.Array | tuple[jax.Array, Any]:
        loss_keys, drop_keys = arrays.split_keys(keys, 2)
        condition = {name: batch[name] for name in condition_names if name in batch} or None
        if condition is not None and drop_condition is not None:
            condition = drop_condition(drop_keys, condition)
        schedule, parameterization = hyperparameters.schedule, hyperparameters.parameterization

        def network(condition: Any) -> losses.Predict:
            parts = (apply_fn, params, schedule, parameterization)
            return denoisers.raw_network(*parts, time_input=time_input, condition=condition)

        reference, noise = hyperparameters.reference, hyperparameters.noise
        options: dict[str, Any] = {} if noise == processes.NORMAL else {"noise": noise}
        if "eps" in batch:
            options["eps"] = batch["eps"]
        if needs_representation:
            options["representation"] = _representation(hyperparameters)
        if class_condition is not None and condition is not None:
            options["labels"] = condition[class_condition]
        if reference is not None:
            options["teacher"] = denoisers.empirical(schedule, reference, noise=noise)
        if unconditional is not None and condition is not None:
            null, dropped = unconditional(condition)
            options["unconditional"] = losses.Unconditional(network(null), dropped)
        if hyperparameters.teacher is not None:
            options["teacher"] = hyperparameters.teacher.denoiser(condition)
        if takes(loss, "progress"):
            options["progress"] = hyperparameters.progress
        return loss(
            loss_keys,
            network(condition),
            schedule,
            parameterization,
            batch["x"],
            weighting=hyperparameters.weighting,
            time_density=hyperparameters.time_density,
            t=t,
            **options,
        )

    return batch_loss


def takes(loss: Callable[..., Any], argument: str) -> bool:
    """Whether a loss takes an argument that not all of them do, such as `progress`; see losses.Loss."""
    return argument in inspect.signature(loss).parameters


def _representation(hyperparameters: Hyperparameters) -> losses.Representation:
    if hyperparameters.representation is None:
        raise ValueError("the loss compares samples in features (loss.features), which only a run in training has")
    return hyperparameters.representation


def draw_times(density: TimeDensity | Adaptive, schedule: Schedule, keys: jax.Array) -> jax.Array:
    """The times that a loss of make_loss draws by the keys of a whole batch."""
    loss_keys, _ = arrays.split_keys(keys, 2)
    return losses.draw_times(loss_keys, schedule, density)


def make_train_step(
    loss: BatchLoss,
    optimizer: optax.GradientTransformation,
    shape: LearningRateShape,
    *,
    preprocess: Preprocess | None = None,
    accumulate: int = 1,
    num_steps: int | None = None,
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
      num_steps: of the whole training, for losses with a curriculum; None: they are at its end all the time.
    """

    def train_step(state: TrainState, batch: Batch | DeviceDataset) -> tuple[TrainState, Metrics]:
        if isinstance(batch, DeviceDataset):
            batch = batch.batch(state.step)
        keys = sample_keys(state.key, state.step, len(batch["x"]))
        batch = preprocessed(batch, keys, preprocess)

        now = state if num_steps is None else _with_progress(state, num_steps)
        value, (grads, learned_grads), remembered = _value_and_grad(loss, now, batch, keys, accumulate)
        updates, opt_state = _update(optimizer, grads, state)
        fraction = jnp.asarray(shape(state.step), jnp.float32)
        learning_rate = state.hyperparameters.learning_rate * fraction
        grad_norm = optax.tree.norm(grads)
        # A reduction, which XLA computes once and not in every operation that writes a part of the state.
        finite = jnp.isfinite(jnp.stack([value, grad_norm])).all()
        if state.learned:
            finite &= jnp.isfinite(optax.tree.norm(learned_grads))
        # Chosen before the averages read them: else XLA computes the new ones twice, and copies the old ones for it.
        params = jax.tree.map(
            lambda p, u: jnp.where(finite, p - learning_rate.astype(p.dtype) * u, p), state.params, updates
        )
        averages = tuple(
            ema.update(average, params, averaging.share(state.step, len(keys)))
            for average, averaging in zip(state.ema, state.hyperparameters.averagings, strict=True)
        )
        updated = dataclasses.replace(state, params=params, opt_state=opt_state, ema=averages, **remembered)
        if state.learned:
            beside = learned.updated(state.hyperparameters, state.learned, learned_grads, fraction)
            updated = dataclasses.replace(updated, learned=beside)
        state = _advanced(state, updated, finite)
        metrics = {"loss": value, "grad_norm": grad_norm, "learning_rate": learning_rate}
        return state, metrics | {"skipped": state.skipped, "skipped_in_a_row": state.skipped_in_a_row}

    return train_step


def _with_progress(state: TrainState, num_steps: int) -> TrainState:
    progress = jnp.asarray(state.step / num_steps, jnp.result_type(float))
    return dataclasses.replace(state, hyperparameters=dataclasses.replace(state.hyperparameters, progress=progress))


def _value_and_grad(
    loss: BatchLoss, state: TrainState, batch: Batch, keys: jax.Array, num_parts: int
) -> tuple[jax.Array, tuple[Any, Any], dict[str, Any]]:
    """The mean loss of a batch, gradients, and what the state remembers after it: training times, generated samples.

    The gradients are those of the network's parameters, and of what is learned beside it.
    """
    hyperparameters = learned.applied(state.hyperparameters, state.learned)
    density = hyperparameters.time_density
    adaptive = density.with_history(state.history) if isinstance(density, Adaptive) else None
    # Drawn here: a time may depend on the example's place in the whole batch.
    t = draw_times(density if adaptive is None else adaptive, hyperparameters.schedule, keys)
    weight = None if adaptive is None else adaptive.importance_weight(t)

    def of_part(
        trained: tuple[Any, Any], batch: Batch, keys: jax.Array, t: jax.Array, weight: jax.Array | None
    ) -> tuple[Any, jax.Array]:
        def each_loss(params: Any, beside: learned.Parameters) -> tuple[jax.Array, Any]:
            current = _with_population(learned.applied(state.hyperparameters, {"parameters": beside}), state)
            result = loss(params, current, batch, keys, t)
            return result if isinstance(result, tuple) else (result, state.population)

        # Several gradients, of one forward pass.
        each, pull_back, population = jax.vjp(each_loss, *trained, has_aux=True)
        weighted = each if weight is None else weight * each
        grads, _ = pull_back(jnp.full_like(each, 1 / len(each)) if weight is None else weight / len(each))
        beside = learned.gradients(state.hyperparameters, trained[1], each, lambda by: pull_back(by)[1], t)
        return (weighted.mean(), (grads, beside), population), each

    trained, examples = (state.params, state.learned.get("parameters", {})), (batch, keys, t, weight)
    # Losses with a population are of whole batches: of several parts it is () each time.
    (value, grads, population), each = accumulation.in_parts(of_part, trained, examples, num_parts)
    history = state.history if adaptive is None else adaptive.updated(t, each)
    return value, grads, {"history": history, "population": population}


def _with_population(hyperparameters: Hyperparameters, state: TrainState) -> Hyperparameters:
    """Hyperparameters whose representation, if any, has the generated samples that the state remembers."""
    if hyperparameters.representation is None or not state.population:
        return hyperparameters
    representation = hyperparameters.representation.with_population(state.population)
    return dataclasses.replace(hyperparameters, representation=representation)


def _update(optimizer: optax.GradientTransformation, grads: Any, state: TrainState) -> tuple[Any, Any]:
    """The updates of the optimizer and its state after them.

    On one CPU device the new state is computed after the updates. Else both read the old state while the new one is
    written in its place, for which XLA copies all of it: for Adam with clipping and the EMA, 19 parameter-sized arrays
    are then read or written in a step instead of 17, and it takes 1.6 times longer.
    """
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    if jax.default_backend() == "cpu" and jax.device_count() == 1:
        # What the second call computes of the updates, and the first of the state, is dropped by the compiler.
        _, opt_state = optimizer.update(grads, accumulation.after(updates, state.opt_state), state.params)
    return updates, opt_state


def _advanced(before: TrainState, updated: TrainState, finite: jax.Array) -> TrainState:
    """The updated state, or the one before where the update was not finite, a step further either way.

    The parameters of `updated` are chosen already.
    """

    # A choice per number and not a branch: the compiler makes it while it writes the update.
    def choose(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda *numbers: jnp.where(finite, *numbers), new, old)

    return dataclasses.replace(
        updated,
        step=before.step + 1,
        opt_state=choose(updated.opt_state, before.opt_state),
        ema=choose(updated.ema, before.ema),
        history=choose(updated.history, before.history),
        population=choose(updated.population, before.population),
        learned=choose(updated.learned, before.learned),
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
