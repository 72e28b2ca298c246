"""Embeddings of time and condition: sinusoidal and Fourier time features, label tables and context projections."""

import dataclasses
import statistics
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffax.networks import conditioning, layers, precision

# (time_input, number of features) to (batch, features), without parameters.
TimeFeatures = Callable[[Float[Array, " batch"], int], Float[Array, "batch features"]]


def sinusoidal(
    time_input: Float[Array, " batch"], dim: int, max_period: float = 10_000.0
) -> Float[Array, "batch {dim}"]:
    """Sinusoidal time features: [sin(w_0 t), ..., sin(w_{h-1} t), cos(w_0 t), ..., cos(w_{h-1} t)].

    h = dim / 2 and w_i = max_period^(-i / (h - 1)). The convention of the DDPM code (arXiv:2006.11239): sines first,
    and wavelengths from 2 pi to 2 pi max_period with both ends met. Computed in float32 (float64 for float64 input); t
    is any real number.

    Raises:
        ValueError: dim that is odd or below 4.
    """
    half = _half(dim)
    exponents = np.arange(half) / (half - 1)
    return _sines_and_cosines(time_input, np.exp(-np.log(max_period) * exponents))


@dataclasses.dataclass(frozen=True)
class SinusoidalFeatures:
    """Sinusoidal time features, for networks whose time input is an index, 999 t, log sigma / 4 or log_snr."""

    max_period: float = 10_000.0

    def __call__(self, time_input: Float[Array, " batch"], dim: int) -> Float[Array, "batch features"]:
        return sinusoidal(time_input, dim, self.max_period)


@dataclasses.dataclass(frozen=True)
class FourierFeatures:
    """Fourier time features: sines and cosines of 2 pi f_i t, with Gaussian frequencies of standard deviation `std`.

    The frequencies are not trained. Random Fourier features are those of arXiv:2006.10739, section 4; score_sde
    (arXiv:2011.13456) uses std 16 on log sigma. The
    sign of a frequency does not matter and chance would only leave gaps, so f_i is the (i + 1/2) / (dim / 2) quantile
    of |f| rather than a draw: std Phi^-1(1/2 + (i + 1/2) / dim).

    Raises:
        ValueError: dim that is odd or below 4.
    """

    std: float = 1.0

    def __call__(self, time_input: Float[Array, " batch"], dim: int) -> Float[Array, "batch features"]:
        levels = 0.5 + (np.arange(_half(dim)) + 0.5) / dim
        normal = statistics.NormalDist()
        frequencies = self.std * np.array([normal.inv_cdf(level) for level in levels])
        return _sines_and_cosines(time_input, 2.0 * np.pi * frequencies)


class ConditionEmbedding(nn.Module):
    """The embedding of time and condition: SiLU(W_2 SiLU(W_1 features(t)) + E[label] + W_c context).

    Every block of a network is conditioned on this vector.

    E has num_classes + 1 rows, the last for the null label; W_c has no bias, so the null context, zero, adds nothing.
    Time and label as in guided diffusion (arXiv:2105.05233). The features are float32, all else has the dtype `dtype`.

    Attributes:
        width: length of the result; DDPM takes four times the channels.
        time_features: (batch,) times and num_features -> (batch, num_features), without parameters.
        num_features: how many of them.
        num_classes: None for a network without labels.
        context_dim: None for a network without context.

    Raises:
        ValueError: a condition the network does not take, or one of wrong shape.
    """

    width: int
    time_features: TimeFeatures
    num_features: int
    num_classes: int | None = None
    context_dim: int | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, time_input: Float[Array, " batch"], condition: conditioning.Condition | None = None
    ) -> Float[Array, "batch emb_dim"]:
        label, context = conditioning.resolve(condition, time_input.shape[0], self.num_classes, self.context_dim)
        h = self.time_features(time_input, self.num_features).astype(self.dtype)
        h = nn.silu(layers.dense(self.width, self.dtype, "time_1")(h))
        h = layers.dense(self.width, self.dtype, "time_2")(h)
        if self.num_classes is not None and label is not None:
            h = h + self._label_table(self.num_classes + 1)(label)
        if context is not None:
            h = h + layers.dense(self.width, self.dtype, "context", use_bias=False)(context.astype(self.dtype))
        return nn.silu(h)

    def _label_table(self, rows: int) -> nn.Embed:
        unit_normal = nn.initializers.normal(1.0)
        return nn.Embed(
            rows,
            self.width,
            dtype=self.dtype,
            param_dtype=jnp.float32,
            embedding_init=unit_normal,
            name="label",
        )


def check_time_input(time_input: Array, batch: int) -> None:
    """Raises ValueError unless there is one real time per sample."""
    if time_input.shape != (batch,):
        raise ValueError(f"time_input must have shape ({batch},), one time per sample, got {time_input.shape}")


def _half(dim: int) -> int:
    if dim < 4 or dim % 2:
        raise ValueError(f"the number of time features must be even and at least 4, got {dim}")
    return dim // 2


def _sines_and_cosines(time_input: Float[Array, " batch"], frequencies: np.ndarray) -> Float[Array, "batch features"]:
    wide = precision.at_least_float32(time_input.dtype)
    angles = time_input.astype(wide)[:, None] * jnp.asarray(frequencies, wide)[None, :]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
