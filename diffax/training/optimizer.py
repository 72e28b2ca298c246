"""Optimizers: Adam(W) and Muon, with global-norm gradient clipping and decoupled weight decay.

Their updates are multiplied by minus the learning rate in the training step, where it is a traced number.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from diffax.training.roles import Role, roles

_DTYPES = ("float32", "bfloat16")


def adam(
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    moment_dtype: str | None = None,
    weight_decay: float = 0.0,
    max_grad_norm: float | None = None,
) -> optax.GradientTransformation:
    """Adam (arXiv:1412.6980), with decoupled weight decay (AdamW, arXiv:1711.05101) and gradient clipping.

    Args:
      moment_dtype: of the stored first moment, float32 or bfloat16; None for that of the parameters. bfloat16 saves an
        eighth of parameters, moments and average.
      weight_decay: of matrices; embeddings, biases and normalization scales are not decayed (training.roles).
      max_grad_norm: the global norm that gradients are clipped to; None for no clipping.

    Raises:
      ValueError: max_grad_norm <= 0, weight_decay < 0, an unknown moment_dtype.
    """
    _check_dtype(moment_dtype)
    return _completed(optax.scale_by_adam(b1, b2, eps, mu_dtype=moment_dtype), weight_decay, max_grad_norm)


def muon(
    *,
    momentum: float = 0.95,
    newton_schulz_steps: int = 5,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    moment_dtype: str | None = None,
    weight_decay: float = 0.0,
    max_grad_norm: float | None = None,
) -> optax.GradientTransformation:
    """Muon (arXiv:2502.16982): orthogonalized Nesterov momentum for the matrices of blocks, Adam for all others.

    A kernel (*inputs, outputs) counts as a matrix of all inputs by outputs. Embeddings, first and last layers, biases
    and normalization scales are Adam's (training.roles). Updates are scaled to the size that Adam's usually have
    (eq. 4), so that Adam's learning rates apply.

    Args:
      newton_schulz_steps: iterations of the orthogonalization.
      moment_dtype: of the stored momentum and of Adam's first moment, float32 or bfloat16; None for that of the
        parameters.
      weight_decay, max_grad_norm: decoupled decay of matrices, and the global norm that gradients are clipped to.

    Raises:
      ValueError: newton_schulz_steps < 1, max_grad_norm <= 0, weight_decay < 0, an unknown moment_dtype.
    """
    _check_dtype(moment_dtype)
    if newton_schulz_steps < 1:
        raise ValueError(f"newton_schulz_steps must be >= 1, got {newton_schulz_steps}")

    def update(kernel: jax.Array, _: Any) -> jax.Array:
        matrix = kernel.reshape(-1, kernel.shape[-1])
        even = orthogonalized(matrix, newton_schulz_steps)
        return 0.2 * math.sqrt(max(matrix.shape)) * even.reshape(kernel.shape)

    trace = optax.trace(momentum, nesterov=True, accumulator_dtype=moment_dtype)
    matrices = optax.chain(trace, optax.stateless_with_tree_map(update))
    transforms = {"muon": matrices, "adam": optax.scale_by_adam(b1, b2, eps, mu_dtype=moment_dtype)}
    scaled = optax.partition(
        transforms, lambda params: jax.tree.map(lambda role: "muon" if role is Role.MATRIX else "adam", roles(params))
    )
    return _completed(scaled, weight_decay, max_grad_norm)


def orthogonalized(matrix: Float[jax.Array, "n m"], num_steps: int = 5) -> Float[jax.Array, "n m"]:
    """The matrix with its singular values replaced by about 1: U V^T of its U S V^T (Muon's Newton-Schulz iteration).

    Singular values that are not near 0 end between 0.7 and 1.2. The iteration is X <- X (a + b G + c G^2) with
    G = X^T X, from a matrix of norm 1 (arXiv:2502.16982, section 2.1). All factors are polynomials of the first G and
    commute: only they are iterated, min(n, m) square, and the matrix itself is multiplied twice however many the steps.
    Optax's, which multiplies it in every step, takes three times as long.
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
    parts = [] if max_grad_norm is None else [_clip_by_global_norm(max_grad_norm)]
    parts.append(scaled)
    if weight_decay > 0:
        parts.append(optax.add_decayed_weights(weight_decay, mask=_decayed))
    return optax.chain(*parts)


def _clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """Gradients times min(1, max_norm / norm), one factor for all.

    optax.clip_by_global_norm divides every gradient by the norm, and XLA writes the quotients out as arrays of their
    own: 24 parameter-sized arrays are then read or written in a step with Adam and the EMA, instead of 19.
    """

    def update(grads: Any, _: Any) -> Any:
        norm = optax.tree.norm(grads)
        factor = jnp.where(norm < max_norm, 1.0, max_norm / norm)
        return jax.tree.map(lambda grad: grad * factor.astype(grad.dtype), grads)

    return optax.stateless(update)


def _decayed(params: Any) -> Any:
    """Whether a parameter is decayed: matrices and the first and last layers."""
    return jax.tree.map(lambda role: role in (Role.MATRIX, Role.END), roles(params))


def _check_dtype(name: str | None) -> None:
    if name is not None and name not in _DTYPES:
        raise ValueError(f"optimizer.moment_dtype must be one of {', '.join(_DTYPES)}, or None, got {name!r}")
