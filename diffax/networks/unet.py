"""The UNet of DDPM, improved DDPM and guided diffusion."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float, Key

from diffax.conditions import Conditions, Kind, Tokens, complete
from diffax.networks import attention, blocks, embeddings, layers, normalization, precision, remat, upsampling

# Tokens (batch, length, width) and their mask (batch, length).
Sequences = tuple[Array, Array]


class UNet(nn.Module):
    """The UNet of diffusion models: residual blocks and attention, with a skip connection from every block going down.

    The defaults with dropout=0.1 are DDPM's CIFAR-10 network (arXiv:2006.11239, appendix B): 35,746,307 parameters.
    Improved DDPM (arXiv:2102.09672): scale_shift=True, num_heads=4, attention_resolutions=(16, 8), num_res_blocks=3.
    Guided diffusion (arXiv:2105.05233): also resblock_updown=True, head_channels=64, attention_resolutions=(32, 16, 8).
    It starts as the zero function. Parameters are float32; results have the dtype of x.

    Attributes:
        channels: of the first level; level i has channel_multipliers[i] times as many.
        num_res_blocks: residual blocks of a level on the way down; the way up has one more.
        attention_resolutions: image heights at which every residual block is followed by attention, and by
            cross-attention to token sequences where there are any; the middle, of the lowest resolution, always is.
        num_heads: heads of every attention, unless head_channels is given.
        head_channels: channels per head; the number of heads then grows with the level.
        dropout: rate inside the residual blocks, used where keys are given.
        groups: of every group normalisation.
        scale_shift: the condition scales and shifts normalised features, instead of being added before.
        resblock_updown: residual blocks change the resolution, instead of a convolution.
        out_channels: None for those of x; twice as many for learned variances.
        conditions: the kinds of the conditions by name. Classes and vectors are added to the embedding of time.
        time_features: SinusoidalFeatures unless given; as many features as channels.
        dtype: of the computation, such as float32 or bfloat16.
        remat: gradient checkpointing of every residual and attention block: "none", "products" (keeps the outputs of
            convolutions and matrix products) or "blocks" (keeps the inputs of blocks alone).
    """

    channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 2, 2, 2)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (16,)
    num_heads: int = 1
    head_channels: int | None = None
    dropout: float = 0.0
    groups: int = 32
    scale_shift: bool = False
    resblock_updown: bool = False
    out_channels: int | None = None
    conditions: Mapping[str, Kind] = dataclasses.field(default_factory=dict)
    time_features: embeddings.TimeFeatures | None = None
    dtype: str = "float32"
    remat: str = "none"

    def __post_init__(self) -> None:
        self.conditions = FrozenDict(self.conditions)  # so that equal modules have equal hashes
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        time_input: Float[Array, " batch"],
        condition: Conditions | None = None,
        *,
        keys: Key[Array, " batch"] | None = None,
    ) -> Float[Array, "batch height width out_channels"]:
        """The raw output of the network.

        Args:
            time_input: any real number per sample: an index, 999 t, log sigma / 4, log_snr.
            condition: values of the conditions by name (diffax.conditions); one that is missing is null.
            keys: one typed JAX key per sample, for dropout; None for none.

        Raises:
            ValueError: sides that cannot be halved as often as there are levels below the first, a resolution with
                attention that is never met, groups or heads that do not divide the channels, or an unfit condition.
        """
        self._check(x.shape)
        embeddings.check_time_input(time_input, x.shape[0])
        values, width = complete(condition, self.conditions, x.shape[0]), 4 * self.channels
        emb = embeddings.ConditionEmbedding(
            width=width,
            time_features=self.time_features or embeddings.SinusoidalFeatures(),
            num_features=self.channels,
            conditions=self.conditions,
            dtype=self.dtype,
            name="embedding",
        )(time_input, values)
        tokens = self._tokens(width)(values, x.shape[0])
        residual = self._residual_blocks(emb, keys)
        h = layers.Conv3x3(self.channels, self.dtype, name="first")(x.astype(self.dtype))
        h, skips = self._down(h, residual, tokens)
        h = residual("middle_1", h, h.shape[-1])
        h = self._attend("middle_attention", h, tokens)
        h = residual("middle_2", h, h.shape[-1])
        h = self._up(h, skips, residual, tokens)
        return self._last(h, self.out_channels or x.shape[-1]).astype(x.dtype)

    def _residual_blocks(self, emb: Array, keys: Array | None) -> Callable[..., Array]:
        """A function that adds one more residual block, numbering them for dropout."""
        numbers = itertools.count()

        def residual(name: str, h: Array, channels: int, resample: Callable[[Array], Array] | None = None) -> Array:
            block = self._rematerialised(blocks.ResidualBlock)(
                channels=channels,
                layer=next(numbers),
                dropout=self.dropout,
                groups=self.groups,
                scale_shift=self.scale_shift,
                resample=resample,
                dtype=self.dtype,
                name=name,
            )
            return block(h, emb, keys=keys)

        return residual

    def _attend(self, name: str, h: Array, tokens: Sequences | None) -> Array:
        """Attention of the positions to each other, then to the token sequences."""
        num_heads = self._heads(h.shape[-1])
        block = self._rematerialised(attention.AttentionBlock)
        h = block(num_heads, self.groups, dtype=self.dtype, name=name)(h)
        return (
            h if tokens is None else block(num_heads, self.groups, dtype=self.dtype, name=f"{name}_cross")(h, *tokens)
        )

    def _tokens(self, width: int) -> Callable[..., Sequences | None]:
        """The embedding of the token sequences, where there are any."""
        if not any(isinstance(kind, Tokens) for kind in self.conditions.values()):
            return lambda values, batch: None
        return embeddings.TokenEmbedding(width, self.conditions, dtype=self.dtype, name="token_embedding")

    def _rematerialised(self, block: Callable[..., Any]) -> Callable[..., Any]:
        policy = remat.POLICIES[self.remat]
        return block if policy is None else nn.remat(block, policy=policy)

    def _down(self, h: Array, residual: Callable[..., Array], tokens: Sequences | None) -> tuple[Array, list[Array]]:
        """Returns the features at the lowest resolution and everything the way up takes over, itself included."""
        skips = [h]
        last = len(self.channel_multipliers) - 1
        for level, multiplier in enumerate(self.channel_multipliers):
            for block in range(self.num_res_blocks):
                h = residual(f"down_{level}_{block}", h, multiplier * self.channels)
                if h.shape[1] in self.attention_resolutions:
                    h = self._attend(f"down_{level}_{block}_attention", h, tokens)
                skips.append(h)
            if level == last:
                break
            if self.resblock_updown:
                h = residual(f"down_{level}_resample", h, h.shape[-1], blocks.average_pool)
            else:
                h = blocks.Downsample(dtype=self.dtype, name=f"down_{level}_resample")(h)
            skips.append(h)
        return h, skips

    def _up(self, h: Array, skips: list[Array], residual: Callable[..., Array], tokens: Sequences | None) -> Array:
        """Back to the first resolution, each block fed with the last skip connection not yet used."""
        for level, multiplier in reversed(tuple(enumerate(self.channel_multipliers))):
            for block in range(self.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = residual(f"up_{level}_{block}", h, multiplier * self.channels)
                if h.shape[1] in self.attention_resolutions:
                    h = self._attend(f"up_{level}_{block}_attention", h, tokens)
            if level == 0:
                break
            if self.resblock_updown:
                h = residual(f"up_{level}_resample", h, h.shape[-1], upsampling.nearest)
            else:
                h = blocks.Upsample(dtype=self.dtype, name=f"up_{level}_resample")(h)
        return h

    def _last(self, h: Array, channels: int) -> Array:
        # Not in bfloat16: its 8 bits would round the whole prediction, and this layer costs next to nothing.
        wide = precision.at_least_float32(self.dtype)
        h = normalization.GroupNormAct(self.groups, dtype=wide, name="last_norm")(h)
        return layers.Conv3x3(channels, wide, zero=True, name="last")(h)

    def _heads(self, channels: int) -> int:
        if self.head_channels is None:
            return self.num_heads
        if self.head_channels < 1 or channels % self.head_channels:
            raise ValueError(
                f"head_channels must divide the channels of every level with attention, got {self.head_channels} "
                f"for {channels} channels"
            )
        return channels // self.head_channels

    def _check(self, shape: tuple[int, ...]) -> None:
        """Refuses, before anything is traced, shapes and settings that do not go together."""
        precision.check_dtype(self.dtype)
        if self.remat not in remat.POLICIES:
            raise ValueError(f"model.remat must be one of {', '.join(remat.POLICIES)}, got {self.remat!r}")
        if len(shape) != 4:
            raise ValueError(f"images must have shape (batch, height, width, channels), got {shape}")
        halvings = len(self.channel_multipliers) - 1
        for side in shape[1:3]:
            if side % 2**halvings:
                raise ValueError(
                    f"image side {side} must be divisible by {2**halvings} (2^{halvings} down-samplings): "
                    f"resize or pad the images, or give fewer than {halvings + 1} channel_multipliers"
                )
        heights = [shape[1] // 2**level for level in range(halvings + 1)]
        for height in self.attention_resolutions:
            if height not in heights:
                raise ValueError(
                    f"attention_resolutions holds {height}, which is never met: "
                    f"images of height {shape[1]} pass through {', '.join(map(str, heights))}"
                )
        for level, multiplier in enumerate(self.channel_multipliers):
            normalization.check_groups(multiplier * self.channels, self.groups)
            if heights[level] in self.attention_resolutions or level == halvings:
                attention.check_heads(multiplier * self.channels, self._heads(multiplier * self.channels))
