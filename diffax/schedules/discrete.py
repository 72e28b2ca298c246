"""Discrete-time noise schedules: a table of betas as in DDPM, interpolated between its steps."""

import dataclasses
from types import ModuleType

import jax
import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from diffax import arrays
from diffax.schedules import limits
from diffax.typing import Array, Numeric


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Knots:
    """alpha, sigma and log_snr at t = 0, 1/T, ..., 1, each of shape (T + 1,)."""

    alpha: Float[Array, " knots"]
    sigma: Float[Array, " knots"]
    log_snr: Float[Array, " knots"]


@jax.tree_util.register_pytree_node_class
class Discrete:
    """DDPM's discrete noise schedule: T steps q(x_i | x_{i-1}) = N(sqrt(1 - beta_i) x_{i-1}, beta_i I).

    Step i = 0..T-1 is at t = (i + 1) / T. alpha(t)^2 is DDPM's alpha_bar, the product of 1 - beta up to t
    (arXiv:2006.11239, eq. 4). Variance preserving. Between steps log_snr is linear in t. Next to a step of pure data or
    pure noise, where log_snr is infinite, (alpha, sigma) is interpolated linearly and normalized to
    alpha^2 + sigma^2 = 1. So alpha(0) = 1 and sigma(0) = 0 exactly. Networks are evaluated at t >= 1/T only, where
    `index_of` is 0. Betas of 0 and of 1 are allowed. Everything is built in float64.

    Args:
      betas: (T,).

    Raises:
      ValueError: betas not a vector of numbers in [0, 1], or all 0.
    """

    betas: Float[Array, " steps"]
    knots: Knots

    def __init__(self, betas: npt.ArrayLike):
        betas = np.asarray(betas, np.float64)
        if betas.ndim != 1 or betas.size == 0:
            raise ValueError(f"betas must be a vector of at least one number, got shape {betas.shape}")
        if not (np.all(betas >= 0) and np.all(betas <= 1)):
            raise ValueError(f"betas must lie in [0, 1], got {betas.min()} to {betas.max()}")
        if not betas.any():
            raise ValueError("betas must not all be 0: such a schedule adds no noise")
        with np.errstate(divide="ignore"):
            log_alpha_bar = np.concatenate([[0.0], np.cumsum(np.log1p(-betas))])
        alpha, sigma = np.exp(log_alpha_bar / 2), np.sqrt(-np.expm1(log_alpha_bar))
        self.betas = betas
        self.knots = Knots(alpha, sigma, limits.log_ratio(alpha**2, sigma**2))

    @property
    def num_steps(self) -> int:
        """T, the number of training steps."""
        return self.betas.shape[-1]

    @classmethod
    def linear(
        cls,
        num_steps: int = 1000,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        *,
        zero_terminal_snr: bool = False,
    ) -> "Discrete":
        """DDPM's linear schedule: evenly spaced betas (arXiv:2006.11239, section 4).

        zero_terminal_snr: rescales the betas as the method of that name does.
        """
        return cls(np.linspace(beta_start, beta_end, _positive(num_steps)))._rescaled(zero_terminal_snr)

    @classmethod
    def scaled_linear(
        cls,
        num_steps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        *,
        zero_terminal_snr: bool = False,
    ) -> "Discrete":
        """The schedule of latent diffusion: evenly spaced square roots of betas (arXiv:2112.10752).

        zero_terminal_snr: rescales the betas as the method of that name does.
        """
        roots = np.linspace(beta_start**0.5, beta_end**0.5, _positive(num_steps))
        return cls(roots**2)._rescaled(zero_terminal_snr)

    @classmethod
    def cosine(
        cls, num_steps: int = 1000, s: float = 0.008, max_beta: float = 0.999, *, zero_terminal_snr: bool = False
    ) -> "Discrete":
        """The cosine schedule of improved DDPM: alpha_bar = cos^2((t + s) / (1 + s) pi/2) (arXiv:2102.09672, eq. 17).

        max_beta: the upper limit of the betas.
        zero_terminal_snr: rescales the betas as the method of that name does.
        """
        t = np.arange(_positive(num_steps) + 1) / num_steps
        alpha_bar = np.cos((t + s) / (1 + s) * np.pi / 2) ** 2
        return cls(np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], max_beta))._rescaled(zero_terminal_snr)

    @classmethod
    def sigmoid(
        cls,
        num_steps: int = 1000,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        *,
        zero_terminal_snr: bool = False,
    ) -> "Discrete":
        """The sigmoid schedule of GeoDiff: betas along a logistic curve from -6 to 6 (arXiv:2203.02923).

        zero_terminal_snr: rescales the betas as the method of that name does.
        """
        betas = beta_start + (beta_end - beta_start) / (1 + np.exp(-np.linspace(-6, 6, _positive(num_steps))))
        return cls(betas)._rescaled(zero_terminal_snr)

    def zero_terminal_snr(self) -> "Discrete":
        """The schedule rescaled to zero terminal SNR, alpha(1) = 0 (arXiv:2305.08891, algorithm 1).

        alpha is shifted and scaled so that the first step keeps its value.

        Raises:
          ValueError: alpha does not fall between the first step and the last.
        """
        alpha = np.asarray(self.knots.alpha)[1:]
        if alpha[0] == alpha[-1]:
            raise ValueError("zero terminal SNR needs alpha to fall between the first step and the last; it does not")
        alpha_bar = np.concatenate([[1.0], ((alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])) ** 2])
        return type(self)(1 - alpha_bar[1:] / alpha_bar[:-1])

    def _rescaled(self, zero_terminal_snr: bool) -> "Discrete":
        return self.zero_terminal_snr() if zero_terminal_snr else self

    def index_of(self, t: Numeric) -> Array:
        """DDPM's step index 0..T-1 of t, rounded to the nearest, as a float; t = 0 counts as step 0."""
        xp, t = arrays.as_float(t)
        return xp.clip(xp.round(t * self.num_steps) - 1, 0, self.num_steps - 1)

    def _read(self, t: Numeric) -> tuple[Array, Array, Array]:
        """(alpha, sigma, log_snr) at t."""
        xp, t, *knots = arrays.as_float(t, *jax.tree.leaves(self.knots))
        position = t * self.num_steps
        # Rounding errors of t T are corrected at t = (i + 1) / T, without changing the derivative in t.
        nearest = xp.round(position)
        rounding = 1.01 * float(xp.finfo(t.dtype).eps) * nearest
        snap = (xp.abs(nearest - position) <= rounding) & (nearest < self.num_steps)
        correction = xp.where(snap, nearest - position, 0)
        position = position + (correction if xp is np else jax.lax.stop_gradient(correction))
        # ceil - 1: a step belongs to the interval that ends at it. The weight is in [0, 1] without a clip, which would
        # halve the derivative at the steps.
        left = xp.clip(xp.ceil(position).astype(int) - 1, 0, self.num_steps - 1)
        weight = position - left.astype(t.dtype)

        before, after = _around(xp, knots, left)
        chord_alpha, chord_sigma, log_snr = ((1 - weight) * b + weight * a for b, a in zip(before, after, strict=True))
        norm = xp.hypot(chord_alpha, chord_sigma)
        chord = _is_chord(xp, before, after)
        exact = chord | (weight == 1)
        alpha = xp.where(exact, chord_alpha / norm, xp.exp(-xp.logaddexp(xp.zeros_like(t), -log_snr) / 2))
        sigma = xp.where(exact, chord_sigma / norm, xp.exp(-xp.logaddexp(xp.zeros_like(t), log_snr) / 2))
        return alpha, sigma, xp.where(chord, limits.log_ratio(chord_alpha**2, chord_sigma**2), log_snr)

    def alpha(self, t: Numeric) -> Array:
        return self._read(t)[0]

    def sigma(self, t: Numeric) -> Array:
        return self._read(t)[1]

    def log_snr(self, t: Numeric) -> Array:
        return self._read(t)[2]

    def t_of_log_snr(self, log_snr: Numeric) -> Array:
        """The time at which log_snr has this value; the first one on a plateau (betas of 0), 0 or 1 beyond the ends."""
        xp, log_snr, *knots = arrays.as_float(log_snr, *jax.tree.leaves(self.knots))
        left = xp.clip(xp.searchsorted(-knots[2], -log_snr, side="left") - 1, 0, self.num_steps - 1)
        before, after = _around(xp, knots, left)
        fall = before[2] - after[2]
        line = (before[2] - log_snr) / xp.where(fall == 0, 1, fall)
        # The point of the chord with sigma / alpha = exp(-log_snr / 2): a cross product, valid for 0 and infinity too.
        cosine = xp.exp(-xp.logaddexp(xp.zeros_like(log_snr), -log_snr) / 2)
        sine = xp.exp(-xp.logaddexp(xp.zeros_like(log_snr), log_snr) / 2)
        from_before = sine * before[0] - cosine * before[1]
        from_after = cosine * after[1] - sine * after[0]
        turn = from_before / xp.where(from_before + from_after == 0, 1, from_before + from_after)
        weight = xp.clip(xp.where(_is_chord(xp, before, after), turn, line), 0, 1)
        return (left.astype(log_snr.dtype) + weight) / self.num_steps

    def tree_flatten(self):
        return (self.betas, self.knots), None

    @classmethod
    def tree_unflatten(cls, _, children) -> "Discrete":
        schedule = object.__new__(cls)
        schedule.betas, schedule.knots = children
        return schedule

    def __repr__(self) -> str:
        return f"Discrete({self.num_steps} steps)"


def _around(xp: ModuleType, knots: list[Array], left: Numeric) -> tuple[Array, Array]:
    """(alpha, sigma, log_snr) at the knots `left` and at the knots after them."""
    table = xp.stack(knots)
    return table[:, left], table[:, left + 1]


def _is_chord(xp: ModuleType, before: Array, after: Array) -> Array:
    """Whether a knot is pure data or pure noise, so that (alpha, sigma) is interpolated linearly between the two."""
    return xp.maximum(xp.abs(before[2]), xp.abs(after[2])) >= limits.LOG_SNR_LIMIT


def _positive(num_steps: int) -> int:
    if num_steps < 1:
        raise ValueError(f"num_steps must be >= 1, got {num_steps}")
    return num_steps
