"""Embeddings of time and conditions: sinusoidal and Fourier time features, tables of classes, projected vectors."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from diffax.conditions import Classes, Conditions, Kind, Number, Tokens, Vector
from diffax.networks import layers, precision

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
    """The embedding of time and conditions: SiLU(W_2 SiLU(W_1 features(t)) + sum of E_c[class] + sum of W_c vector
    + sum of V_c SiLU(U_c (features(number) - features(0)))).

    Every block of a network is conditioned on this vector.

    E_c has one row more than there are classes, for the null class; W_c has no bias, so that the null vector, zero,
    adds nothing. Nor does the null number, 0; V_c is 0 at first, so that a network may learn a number more than it was
    trained with. Token sequences are for attention (TokenEmbedding). Time and classes as in guided diffusion
    (arXiv:2105.05233). The features are float32, all else has the dtype `dtype`.

    Attributes:
        width: length of the result; DDPM takes four times the channels.
        time_features: (batch,) times and num_features -> (batch, num_features), without parameters.
        num_features: how many of them.
        conditions: the kinds of the conditions by name.
    """

    width: int
    time_features: TimeFeatures
    num_features: int
    conditions: Mapping[str, Kind] = dataclasses.field(default_factory=dict)
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, time_input: Float[Array, " batch"], values: Conditions) -> Float[Array, "batch emb_dim"]:
        """The embedding; values: those of `conditions.complete`."""
        h = self.time_features(time_input, self.num_features).astype(self.dtype)
        h = nn.silu(layers.dense(self.width, self.dtype, "time_1")(h))
        h = layers.dense(self.width, self.dtype, "time_2")(h)
        for name, kind in sorted(self.conditions.items()):
            if isinstance(kind, Classes):
                h = h + self._table(name, kind.num + 1)(values[name])
            elif isinstance(kind, Vector):
                vector = jnp.asarray(values[name], self.dtype)
                h = h + layers.dense(self.width, self.dtype, name, use_bias=False)(vector)
            elif isinstance(kind, Number):
                h = h + self._number(name, kind, jnp.asarray(values[name], time_input.dtype))
        return nn.silu(h)

    def _number(self, name: str, kind: Number, value: Float[Array, " batch"]) -> Array:
        features = SinusoidalFeatures()
        shifted = features(kind.scale * value, self.num_features) - features(jnp.zeros_like(value), self.num_features)
        h = layers.dense(self.width, self.dtype, f"{name}_1", use_bias=False)(shifted.astype(self.dtype))
        return layers.dense(self.width, self.dtype, f"{name}_2", zero=True, use_bias=False)(nn.silu(h))

    def _table(self, name: str, rows: int) -> nn.Embed:
        unit_normal = nn.initializers.normal(1.0)
        return nn.Embed(
            rows,
            self.width,
            dtype=self.dtype,
            param_dtype=jnp.float32,
            embedding_init=unit_normal,
            name=name,
        )


class TokenEmbedding(nn.Module):
    """What cross-attention attends to: the vectors of all token sequences, each kind by its own matrix, in a row.

    Before the tokens of each condition stands one that is learned and always there. So attention is defined where a
    sequence is null, and has nothing else to attend to then. Vectors that the mask leaves out are never read.

    Attributes:
        width: of the result.
        conditions: the kinds of the conditions by name; those that are no Tokens are left out.
    """

    width: int
    conditions: Mapping[str, Kind]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, values: Conditions, batch: int
    ) -> tuple[Float[Array, "batch length width"], Bool[Array, "batch length"]] | None:
        """(tokens, mask) of the values of `conditions.complete`; None for a network without token sequences."""
        tokens, masks = [], []
        for name, kind in sorted(self.conditions.items()):
            if isinstance(kind, Tokens):
                sequence = values[name]
                mask = jnp.asarray(sequence.mask)
                vectors = jnp.where(mask[..., None], jnp.asarray(sequence.vectors, self.dtype), 0)
                first = self.param(f"{name}_null", nn.initializers.normal(1.0), (self.width,), jnp.float32)
                first = jnp.broadcast_to(first.astype(self.dtype), (batch, 1, self.width))
                tokens += [first, layers.dense(self.width, self.dtype, name)(vectors)]
                masks += [jnp.ones((batch, 1), bool), mask]
        return (jnp.concatenate(tokens, axis=1), jnp.concatenate(masks, axis=1)) if tokens else None


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
