"""A residual multilayer perceptron (MLP) for points, such as those of the plane."""

import dataclasses
from collections.abc import Mapping

import flax.linen as nn
from flax.core import FrozenDict
from jaxtyping import Array, Float, Key

from diffax.conditions import Conditions, Kind, Tokens, complete
from diffax.networks import dropout, embeddings, layers, precision


class MLP(nn.Module):
    """A residual MLP: layers h + W_2 dropout(silu(W_1 silu(h) + W_3 emb)), between a first and a last matrix.

    It starts as the zero function. Parameters are float32; results have the dtype of x.

    Attributes:
        hidden: width of every layer.
        depth: number of residual layers.
        residual: False leaves the `h +` out, which makes the plain perceptron of 2 depth + 1 hidden layers.
        dropout: rate, used where keys are given.
        out_dim: None for that of x.
        conditions: the kinds of the conditions by name: classes and vectors.
        time_features: SinusoidalFeatures unless given; FourierFeatures for a time input within [0, 1]. As many
            features as the width.
        dtype: of the computation, such as float32 or bfloat16.
    """

    hidden: int = 128
    depth: int = 3
    residual: bool = True
    dropout: float = 0.0
    out_dim: int | None = None
    conditions: Mapping[str, Kind] = dataclasses.field(default_factory=dict)
    time_features: embeddings.TimeFeatures | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        self.conditions = FrozenDict(self.conditions)  # so that equal modules have equal hashes
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch dim"],
        time_input: Float[Array, " batch"],
        condition: Conditions | None = None,
        *,
        keys: Key[Array, " batch"] | None = None,
    ) -> Float[Array, "batch out_dim"]:
        """The raw output of the network; arguments as for `UNet`.

        Raises:
            ValueError: x that is not (batch, dim), unfit times, or an unfit condition.
        """
        precision.check_dtype(self.dtype)
        if x.ndim != 2:
            raise ValueError(f"points must have shape (batch, dim), got {x.shape}")
        sequences = [name for name, kind in self.conditions.items() if isinstance(kind, Tokens)]
        if sequences:
            raise ValueError(f"the MLP attends to no tokens: give the condition {sequences[0]!r} as a vector")
        embeddings.check_time_input(time_input, x.shape[0])
        emb = embeddings.ConditionEmbedding(
            width=self.hidden,
            time_features=self.time_features or embeddings.SinusoidalFeatures(),
            num_features=self.hidden,
            conditions=self.conditions,
            dtype=self.dtype,
            name="embedding",
        )(time_input, complete(condition, self.conditions, x.shape[0]))
        h = layers.dense(self.hidden, self.dtype, "first")(x.astype(self.dtype))
        for layer in range(self.depth):
            inner = layers.dense(self.hidden, self.dtype, f"layer_{layer}_1")(nn.silu(h))
            inner = inner + layers.dense(self.hidden, self.dtype, f"layer_{layer}_condition", use_bias=False)(emb)
            inner = dropout.dropout(nn.silu(inner), keys, self.dropout, layer)
            inner = layers.dense(self.hidden, self.dtype, f"layer_{layer}_2")(inner)
            h = h + inner if self.residual else inner
        wide = precision.at_least_float32(self.dtype)
        out = layers.dense(self.out_dim or x.shape[-1], wide, "last", zero=True)(nn.silu(h))
        return out.astype(x.dtype)
