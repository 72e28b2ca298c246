"""What turns gradients into updates; the learning rate itself is applied by the train step, as a traced number."""

from collections.abc import Callable

import jax
import optax

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
    if max_grad_norm is not None and not max_grad_norm > 0:
        raise ValueError(f"max_grad_norm must be > 0, or None for no clipping, got {max_grad_norm}")
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay must be >= 0, got {weight_decay}")
    parts = [] if max_grad_norm is None else [optax.clip_by_global_norm(max_grad_norm)]
    parts.append(optax.scale_by_adam(b1, b2, eps))
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
