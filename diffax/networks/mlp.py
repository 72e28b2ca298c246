"""A residual multilayer perceptron (MLP) for points, such as those of the plane."""

import flax.linen as nn
from jaxtyping import Array, Float, Key

from diffax.networks import conditioning, dropout, embeddings, layers, precision


class MLP(nn.Module):
    """A residual MLP: layers h + W_2 dropout(silu(W_1 silu(h) + W_3 emb)), between a first and a last matrix.

    It starts as the zero function. Parameters are float32; results have the dtype of x.

    Attributes:
        hidden: width of every layer.
        depth: number of residual layers.
        residual: False leaves the `h +` out, which makes the plain perceptron of 2 depth + 1 hidden layers.
        dropout: rate, used where keys are given.
        out_dim: None for that of x.
        num_classes: None for no labels; a table of num_classes + 1 rows otherwise, the last for the null label.
        context_dim: None for no context.
        time_features: SinusoidalFeatures unless given; FourierFeatures for a time input within [0, 1]. As many
            features as the width.
        dtype: of the computation, such as float32 or bfloat16.
    """

    hidden: int = 128
    depth: int = 3
    residual: bool = True
    dropout: float = 0.0
    out_dim: int | None = None
    num_classes: int | None = None
    context_dim: int | None = None
    time_features: embeddings.TimeFeatures | None = None
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch dim"],
        time_input: Float[Array, " batch"],
        condition: conditioning.Condition | None = None,
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
        embeddings.check_time_input(time_input, x.shape[0])
        emb = embeddings.ConditionEmbedding(
            width=self.hidden,
            time_features=self.time_features or embeddings.SinusoidalFeatures(),
            num_features=self.hidden,
            num_classes=self.num_classes,
            context_dim=self.context_dim,
            dtype=self.dtype,
            name="embedding",
        )(time_input, condition)
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
