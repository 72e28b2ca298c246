"""Learning-rate schedules as fractions of the peak: linear warm-up, then constant, cosine or linear decay (Optax)."""

from collections.abc import Callable

import jax
import optax

LearningRateShape = Callable[[jax.Array], jax.Array]


def constant(num_steps: int) -> LearningRateShape:
    """No decay: 1 at every step."""
    return optax.constant_schedule(1.0)


def cosine(num_steps: int, *, final_fraction: float = 0.0) -> LearningRateShape:
    """Cosine decay from 1 to final_fraction over num_steps steps (arXiv:1608.03983, without restarts)."""
    return optax.cosine_decay_schedule(1.0, num_steps, final_fraction)


def linear(num_steps: int, *, final_fraction: float = 0.0) -> LearningRateShape:
    """Linear decay from 1 to final_fraction over num_steps steps."""
    return optax.linear_schedule(1.0, final_fraction, num_steps)


def with_warmup(decay: LearningRateShape, warmup_steps: int) -> LearningRateShape:
    """A linear warm-up over warmup_steps steps, then the decay from its beginning."""
    if warmup_steps == 0:
        return decay
    # The first step already moves: 1 / warmup_steps, not 0.
    warmup = optax.linear_schedule(1 / warmup_steps, 1.0, max(warmup_steps - 1, 1))
    return optax.join_schedules([warmup, decay], [warmup_steps])
