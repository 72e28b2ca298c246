"""Conditions of a network (labels and contexts), their null values, and dropping them for classifier-free guidance.

A condition is None or a dict with any of

    "label"     (batch,) integers in [0, num_classes]; num_classes is the null label
    "context"   (batch, context_dim) floats; the zero vector is the null context

and an entry that is missing means null. Classifier-free guidance (arXiv:2207.12598) trains with nulled conditions and
samples with both.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

Condition = dict[str, Array]


def null_condition(condition: Condition | None, num_classes: int | None) -> Condition | None:
    """The null condition: every label num_classes, every context zero.

    Raises:
        ValueError: unknown entries, or labels without num_classes.
    """
    return None if condition is None else _null(condition, num_classes)


def drop_condition(
    keys: Key[Array, " batch"], condition: Condition | None, num_classes: int | None, probability: float
) -> Condition | None:
    """Condition dropping: nulls the whole condition of a sample with a probability, by the sample's own key.

    `keys` should serve nothing else; label and context of one sample are dropped together (arXiv:2207.12598, alg. 1).

    Raises:
        ValueError: probability outside [0, 1], unknown entries, or labels without num_classes.
    """
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"probability must be in [0, 1], got {probability}")
    if condition is None:
        return None
    null = _null(condition, num_classes)
    dropped: Bool[Array, " batch"] = jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys)
    return {
        name: jnp.where(dropped.reshape(-1, *(1,) * (value.ndim - 1)), null[name], value)
        for name, value in condition.items()
    }


def resolve(
    condition: Condition | None, batch: int, num_classes: int | None, context_dim: int | None
) -> tuple[Int[Array, " batch"] | None, Float[Array, "batch context_dim"] | None]:
    """Labels and context for a network with these settings: null where missing, None where the network has none.

    Raises:
        ValueError: an entry the network does not take, or one of wrong shape or kind.
    """
    condition = {} if condition is None else condition
    _check_names(condition)
    if "label" in condition and num_classes is None:
        raise ValueError("this network has no classes (num_classes=None) but the condition holds labels")
    if "context" in condition and context_dim is None:
        raise ValueError("this network takes no context (context_dim=None) but the condition holds one")
    label = condition.get("label", None if num_classes is None else jnp.full((batch,), num_classes, jnp.int32))
    context = condition.get("context", None if context_dim is None else jnp.zeros((batch, context_dim), jnp.float32))
    if label is not None and (label.shape != (batch,) or not jnp.issubdtype(label.dtype, jnp.integer)):
        raise ValueError(f"labels must be integers of shape ({batch},), got {label.dtype} of shape {label.shape}")
    if context is not None and context.shape != (batch, context_dim):
        raise ValueError(f"context must have shape ({batch}, {context_dim}), got {context.shape}")
    return label, context


def _null(condition: Condition, num_classes: int | None) -> Condition:
    _check_names(condition)
    null = {name: jnp.zeros_like(value) for name, value in condition.items()}
    if "label" in condition:
        if num_classes is None:
            raise ValueError("num_classes must be given to null labels, got None")
        null["label"] = jnp.full_like(condition["label"], num_classes)
    return null


def _check_names(condition: Condition) -> None:
    unknown = sorted(set(condition) - {"label", "context"})
    if unknown:
        raise ValueError(f"a condition may hold 'label' and 'context', got {', '.join(map(repr, unknown))}")
