"""Where on the way from data to noise a network still has something to learn."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from diffax.training.state import Numbers, TrainState, evaluation_keys
from diffax.training.step import Batch, BatchLoss, View, seen

# Beyond these there is hardly any noise, or hardly anything else.
LOW, HIGH = -10.0, 10.0
OfBin = Callable[[TrainState, Batch, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def make_loss_of_bin(loss: BatchLoss, *, view: View | None = None) -> OfBin:
    """loss_of_bin(state, batch, low, high) -> the mean loss at log-SNRs between low and high, and its gradient's norm.

    Of the parameters in training, as the loss weighs those times, evenly spread over the bin; on the same noise every
    time. One bin a call: on CPUs a loop around a gradient is slow.
    """

    def loss_of_bin(state: TrainState, batch: Batch, low: jax.Array, high: jax.Array) -> tuple[jax.Array, jax.Array]:
        num = len(batch["x"])
        keys = evaluation_keys(state.key, num)
        viewed = seen(batch, keys, view)
        log_snr = low + (high - low) * (jnp.arange(num) + 0.5) / num
        t = jnp.asarray(state.numbers.schedule.time_of(log_snr), viewed["x"].dtype)

        def mean_loss(params):
            return loss(params, state.numbers, viewed, keys, t).mean()

        value, grads = jax.value_and_grad(mean_loss)(state.params)
        return value, optax.tree.norm(grads)

    return loss_of_bin


def bin_edges(numbers: Numbers, num_bins: int) -> np.ndarray:
    """(num_bins + 1,) log-SNRs, ascending, that the schedule passes through, at most from -10 to 10."""
    low, high = (float(numbers.schedule.log_snr(t)) for t in (1.0, 0.0))
    return np.linspace(max(low, LOW), min(high, HIGH), num_bins + 1)


def by_log_snr(loss_of_bin: OfBin, state: TrainState, batch: Batch, edges: np.ndarray) -> dict[str, float]:
    """{"loss_log_snr_-4": ..., "grad_norm_log_snr_-4": ...} of every bin, called by its centre.

    loss_of_bin: jitted.
    """
    values: dict[str, float] = {}
    for low, high in itertools.pairwise(edges):
        loss, grad_norm = loss_of_bin(state, batch, jnp.float32(low), jnp.float32(high))
        centre = f"{(low + high) / 2:.3g}"
        values |= {f"loss_log_snr_{centre}": float(loss), f"grad_norm_log_snr_{centre}": float(grad_norm)}
    return values
