"""What turns gradients into updates; the learning rate itself is applied by the train step, as a traced number."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike
from jaxtyping import Float

LearningRateShape = Callable[[jax.Array], jax.Array]


def adam(
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    moment_dtype: DTypeLike | None = None,
    weight_decay: float = 0.0,
    max_grad_norm: float | None = None,
) -> optax.GradientTransformation:
    """Adam, with decoupled weight decay (AdamW) and the gradient clipped to a global norm where asked for.

    Its updates are to be multiplied by minus the learning rate. moment_dtype: of the stored first moment, that of the
    parameters by default; bfloat16 saves an eighth of parameters, moments and average.

    Raises:
      ValueError: max_grad_norm <= 0, weight_decay < 0.
    """
    return _completed(optax.scale_by_adam(b1, b2, eps, mu_dtype=moment_dtype), weight_decay, max_grad_norm)


def muon(
    *,
    momentum: float = 0.95,
    newton_schulz_steps: int = 5,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    moment_dtype: DTypeLike | None = None,
    weight_decay: float = 0.0,
    max_grad_norm: float | None = None,
) -> optax.GradientTransformation:
    """Muon: Nesterov's momentum of every kernel, its singular values made alike; Adam for the other leaves.

    A kernel (*inputs, outputs) is a matrix of all inputs by outputs. Updates are scaled to Adam's usual size
    (arXiv:2502.16982, eq. 4), so that Adam's learning rates will do; they are to be multiplied by minus the rate.
    moment_dtype: of the stored momentum and of Adam's first moment, that of the parameters by default.

    Raises:
      ValueError: newton_schulz_steps < 1, max_grad_norm <= 0, weight_decay < 0.
    """
    if newton_schulz_steps < 1:
        raise ValueError(f"newton_schulz_steps must be >= 1, got {newton_schulz_steps}")

    def update(kernel: jax.Array, _: Any) -> jax.Array:
        matrix = kernel.reshape(-1, kernel.shape[-1])
        even = orthogonalized(matrix, newton_schulz_steps)
        return 0.2 * math.sqrt(max(matrix.shape)) * even.reshape(kernel.shape)

    trace = optax.trace(momentum, nesterov=True, accumulator_dtype=moment_dtype)
    kernels = optax.chain(trace, optax.stateless_with_tree_map(update))
    of_each_kind = {"kernel": kernels, "other": optax.scale_by_adam(b1, b2, eps, mu_dtype=moment_dtype)}
    scaled = optax.partition(
        of_each_kind, lambda params: jax.tree.map(lambda leaf: "kernel" if leaf.ndim > 1 else "other", params)
    )
    return _completed(scaled, weight_decay, max_grad_norm)


def orthogonalized(matrix: Float[jax.Array, "n m"], num_steps: int = 5) -> Float[jax.Array, "n m"]:
    """U V^T of the matrix's U S V^T, to within 0.7 to 1.2 in place of S where that is not near 0 (Muon's coefficients).

    Newton-Schulz: X <- X (a + b G + c G^2) with G = X^T X, from a matrix of norm 1 (arXiv:2502.16982, section 2.1). All
    factors are polynomials of the first G and commute: only they are iterated, min(n, m) square, and the matrix itself
    is multiplied twice however many the steps. Optax's, which multiplies it in every step, takes three times as long.
    """
    if matrix.shape[0] < matrix.shape[1]:
        return orthogonalized(matrix.T, num_steps).T
    a, b, c = 3.4445, -4.7750, 2.0315
    matrix = matrix / (jnp.linalg.norm(matrix) + 1e-12)
    identity = jnp.eye(matrix.shape[1], dtype=matrix.dtype)
    gram, product = matrix.T @ matrix, identity
    for _ in range(num_steps):
        factor = a * identity + b * gram + c * gram @ gram
        gram, product = factor @ gram @ factor, product @ factor
    return matrix @ product


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
