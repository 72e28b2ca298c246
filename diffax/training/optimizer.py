"""What turns gradients into updates; the learning rate itself is applied by the train step, as a traced number."""

from collections.abc import Callable
from typing import Any

import jax
import optax
import optax.contrib

LearningRateShape = Callable[[jax.Array], jax.Array]


def adam(
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    max_grad_norm: float | None = None,
) -> optax.GradientTransformation:
    """Adam, with decoupled weight decay (AdamW) and the gradient clipped to a global norm where asked for.

    Its updates are to be multiplied by minus the learning rate.

    Raises:
      ValueError: max_grad_norm <= 0, weight_decay < 0.
    """
    return _completed(optax.scale_by_adam(b1, b2, eps), weight_decay, max_grad_norm)


def muon(
    *,
    momentum: float = 0.95,
    newton_schulz_steps: int = 5,
    b1: float = 0.9,
    b2: float = 0.999,
    weight_decay: float = 0.0,
    max_grad_norm: float | None = None,
) -> optax.GradientTransformation:
    """Muon: the momentum of every kernel made orthogonal (Optax's, by Newton-Schulz steps); for other leaves NAdam.

    A kernel (*inputs, outputs) is a matrix of all inputs by outputs. Updates are scaled to Adam's usual size
    (arXiv:2502.16982, eq. 4), so that Adam's learning rates will do. Costs a few products of every kernel with itself
    a step, next to nothing where batches are large. Its updates are to be multiplied by minus the learning rate.

    Raises:
      ValueError: newton_schulz_steps < 1, max_grad_norm <= 0, weight_decay < 0.
    """
    if newton_schulz_steps < 1:
        raise ValueError(f"newton_schulz_steps must be >= 1, got {newton_schulz_steps}")

    def kernels(params: Any) -> Any:
        return jax.tree.map(
            lambda p: (
                optax.contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), (p.ndim - 1,)) if p.ndim > 1 else None
            ),
            params,
        )

    orthogonalized = optax.contrib.muon(
        -1.0,
        ns_steps=newton_schulz_steps,
        beta=momentum,
        adam_b1=b1,
        adam_b2=b2,
        muon_weight_dimension_numbers=kernels,
        consistent_rms=0.2,
    )
    return _completed(orthogonalized, weight_decay, max_grad_norm)


def _completed(
    scaled: optax.GradientTransformation, weight_decay: float, max_grad_norm: float | None
) -> optax.GradientTransformation:
    if max_grad_norm is not None and not max_grad_norm > 0:
        raise ValueError(f"max_grad_norm must be > 0, or None for no clipping, got {max_grad_norm}")
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay must be >= 0, got {weight_decay}")
    parts = [] if max_grad_norm is None else [optax.clip_by_global_norm(max_grad_norm)]
    parts.append(scaled)
    if weight_decay > 0:
        parts.append(optax.add_decayed_weights(weight_decay))
    return optax.chain(*parts)


def learning_rate_shape(
    num_steps: int,
    *,
    warmup_steps: int = 0,
    decay: str = "constant",
    final_fraction: float = 0.0,
) -> LearningRateShape:
    """step -> the learning rate as a fraction of its peak: a linear warm-up, then constant or down to final_fraction.

    Raises:
      ValueError: an unknown decay, a warm-up that is negative, or that leaves no steps for the decay.
    """
    if decay not in ("constant", "cosine", "linear"):
        raise ValueError(f"decay must be one of constant, cosine, linear, got {decay!r}")
    if warmup_steps < 0 or (decay != "constant" and warmup_steps >= num_steps):
        raise ValueError(
            f"warmup_steps must be >= 0 and, with a decay, below the {num_steps} steps of training, got {warmup_steps}"
        )
    after = {
        "constant": lambda: optax.constant_schedule(1.0),
        "cosine": lambda: optax.cosine_decay_schedule(1.0, num_steps - warmup_steps, final_fraction),
        "linear": lambda: optax.linear_schedule(1.0, final_fraction, num_steps - warmup_steps),
    }[decay]()
    if warmup_steps == 0:
        return after
    # The first step already moves: 1 / warmup_steps, not 0.
    warmup = optax.linear_schedule(1 / warmup_steps, 1.0, max(warmup_steps - 1, 1))
    return optax.join_schedules([warmup, after], [warmup_steps])
