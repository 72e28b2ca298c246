"""Residual blocks of the UNet, and its down-sampling and up-sampling layers."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from diffax.networks import dropout, layers, normalization, upsampling


def average_pool(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch height//2 width//2 channels"]:
    """2x2 average pooling."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


class Downsample(nn.Module):
    """Down-sampling by a 3x3 convolution of stride 2: (batch, side, side, channels) to half the side, as in DDPM."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch height//2 width//2 channels"]:
        return layers.Conv3x3(x.shape[-1], self.dtype, stride=2, name="conv")(x)


class Upsample(nn.Module):
    """Nearest-neighbour up-sampling and a 3x3 convolution, (batch, side, side, channels) to twice the side (DDPM)."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch 2*height 2*width channels"]:
        return layers.Conv3x3(x.shape[-1], self.dtype, upsample=True, name="conv")(x)


class ResidualBlock(nn.Module):
    """A residual block: shortcut(x) + conv(dropout(silu(norm(conv(silu(norm(x))) conditioned on emb)))).

    The condition enters before the second normalisation, h + W emb (DDPM, arXiv:2006.11239, appendix B), or as its
    scale and shift, norm(h) (1 + s) + m with (s, m) = W emb (improved DDPM, arXiv:2102.09672, section 3). The second
    convolution starts at zero, so a block starts as its shortcut: x, or a 1x1 convolution where channels change.

    Attributes:
        channels: of the result.
        layer: this block's number for dropout, different from that of any other block.
        resample: `average_pool` or `upsampling.nearest` for a block that halves or doubles the side, shortcut included,
            before its first convolution (guided diffusion, arXiv:2105.05233, section 3, after BigGAN).

    Raises:
        ValueError: channels that are not a multiple of groups, or unfit keys (see `dropout`).
    """

    channels: int
    layer: int
    dropout: float = 0.0
    groups: int = 32
    scale_shift: bool = False
    resample: Callable[[Array], Array] | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width in_channels"],
        emb: Float[Array, "batch emb_dim"],
        *,
        keys: Key[Array, " batch"] | None = None,
    ) -> Float[Array, "batch new_height new_width channels"]:
        x = layers.cut_fusion(x)
        h = normalization.GroupNormAct(self.groups, dtype=self.dtype, name="norm_1")(x)
        upsample = self.resample is upsampling.nearest
        if self.resample is not None:
            h, x = h if upsample else self.resample(h), self.resample(x)
        # The norm takes up what is added to every position: XLA's CPU compiler keeps h with and without it for the
        # backward pass, 0.80 instead of 0.75 GB of temporaries of Adam's step of DDPM's CIFAR UNet, batches of 16.
        h, bias = layers.Conv3x3(self.channels, self.dtype, upsample=upsample, name="conv_1").apart(h)
        h = self._conditioned_norm(h, bias[None, :], emb)
        h = dropout.dropout(h, keys, self.dropout, self.layer)
        h = layers.Conv3x3(self.channels, self.dtype, zero=True, name="conv_2")(h)
        if x.shape[-1] != self.channels:
            rows = x.reshape(-1, x.shape[-1])  # as in attention
            x = layers.dense(self.channels, self.dtype, "shortcut")(rows).reshape(h.shape)
        return x + h

    def _conditioned_norm(self, h: Array, bias: Array, emb: Array) -> Array:
        norm = normalization.GroupNormAct(self.groups, dtype=self.dtype, name="norm_2")
        if self.scale_shift:
            projected = layers.dense(2 * self.channels, self.dtype, "condition")(emb)
            s, m = jnp.split(projected, 2, axis=-1)
            return norm(h, (s, m), bias)
        projected = layers.dense(self.channels, self.dtype, "condition")(emb)
        return norm(h, offset=projected + bias)
