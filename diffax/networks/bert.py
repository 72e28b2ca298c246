"""BERT (arXiv:1810.04805): a transformer encoder of token sequences, and its parameters from Hugging Face's tensors.

Word, position and token-type embeddings are summed and layer-normalised. Each layer is multi-head self-attention and an
MLP with exact GELU, each followed by its residual sum and a layer norm (post-norm). There is no dropout: the network is
a frozen encoder.
"""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from diffax.networks.linen import Params

Path = tuple[str, ...]

# The tensors of a layer of Hugging Face's BertModel, by the names of our layers.
_LAYER_TENSORS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "hidden": "intermediate.dense",
    "out": "output.dense",
    "norm": "output.LayerNorm",
}
_EMBEDDING_TENSORS = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
}
_PARAMETER_NAMES = {"embedding": "weight", "kernel": "weight", "scale": "weight", "bias": "bias"}
# What a BertModel, or a model with a task's head on it, holds besides the encoder.
_IGNORED = r"embeddings\.position_ids|pooler\..*|cls\..*"
_PREFIX = "bert."  # of the encoder's tensors in a model with a head


class Bert(nn.Module):
    """Token indices to the hidden states of the last layer, (batch, length, width), float32.

    Positions where `mask` is False are attended by no position. The hidden states of the other positions do not depend
    on them; their own hidden states mean nothing.

    vocabulary_size: number of tokens. width: of the hidden states. depth: number of layers. num_heads: of the
    attention. hidden_width: of the MLPs. max_length: number of position embeddings. num_types: number of token-type
    embeddings. epsilon: of the layer norms.

    Raises:
      ValueError: num_heads does not divide width, or sequences longer than max_length.
    """

    vocabulary_size: int
    width: int
    depth: int
    num_heads: int
    hidden_width: int
    max_length: int = 512
    num_types: int = 2
    epsilon: float = 1e-12

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        mask: Bool[Array, "batch length"],
        types: Int[Array, "batch length"] | None = None,
    ) -> Float[Array, "batch length width"]:
        """types: the token type (segment) of each position; None is type 0 everywhere."""
        if self.num_heads < 1 or self.width % self.num_heads:
            raise ValueError(f"num_heads must divide width, got {self.num_heads} heads for width {self.width}")
        length = tokens.shape[1]
        if length > self.max_length:
            raise ValueError(f"expected sequences of at most {self.max_length} tokens, got {length}")
        types = jnp.zeros_like(tokens) if types is None else types
        x = nn.Embed(self.vocabulary_size, self.width, name="words")(tokens)
        x = x + nn.Embed(self.max_length, self.width, name="positions")(jnp.arange(length))[None]
        x = x + nn.Embed(self.num_types, self.width, name="types")(types)
        x = _layer_norm(self.epsilon, "norm")(x)
        for index in range(self.depth):
            x = _Layer(self.num_heads, self.hidden_width, self.epsilon, name=f"layer_{index}")(x, mask)
        return x


class _Layer(nn.Module):
    """A post-norm transformer layer: x = norm(x + attention(x)), then x = norm(x + mlp(x))."""

    num_heads: int
    hidden_width: int
    epsilon: float

    @nn.compact
    def __call__(self, x: Array, mask: Array) -> Array:
        width = x.shape[-1]

        def heads(name: str) -> Array:
            return nn.Dense(width, name=name)(x).reshape(*x.shape[:2], self.num_heads, width // self.num_heads)

        # mask: (batch, heads, queries, keys).
        mixed = jax.nn.dot_product_attention(heads("query"), heads("key"), heads("value"), mask=mask[:, None, None, :])
        h = nn.Dense(width, name="attention_out")(mixed.reshape(x.shape))
        x = _layer_norm(self.epsilon, "attention_norm")(x + h)
        h = jax.nn.gelu(nn.Dense(self.hidden_width, name="hidden")(x), approximate=False)
        return _layer_norm(self.epsilon, "norm")(x + nn.Dense(width, name="out")(h))


def _layer_norm(epsilon: float, name: str) -> nn.LayerNorm:
    # E[x^2] - E[x]^2 loses digits, and epsilon is 1e-12.
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, name=name)


def tensor_shapes(network: Bert) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the tensors of Hugging Face's BertModel that `params_from` reads."""
    return {_tensor_name(path): _torch_shape(path, shape) for path, shape in _param_shapes(network).items()}


def params_from(network: Bert, tensors: Mapping[str, np.ndarray], where: str) -> Params:
    """The parameters of the network from the tensors of a Hugging Face BertModel, float32.

    The tensors may have the prefix "bert." of a model with a task's head; the head and the pooler are ignored.

    Args:
      tensors: by name, as `model.safetensors` has them.
      where: the path of the file, for the messages.

    Raises:
      ValueError: a missing or unexpected tensor, another shape, or values that are not finite: one line.
    """
    tensors = {name.removeprefix(_PREFIX): value for name, value in tensors.items()}
    expected = tensor_shapes(network)
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in tensors if name not in expected and not re.fullmatch(_IGNORED, name)]
    if missing or unexpected:
        what, names = ("no tensor", missing) if missing else ("an unexpected tensor", unexpected)
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        raise ValueError(f"{where}: expected the {len(expected)} tensors of a BertModel, got {what} {names[0]!r}{more}")
    flat: dict[Path, np.ndarray] = {}
    for path in _param_shapes(network):
        name = _tensor_name(path)
        tensor = tensors[name]
        if tensor.shape != expected[name]:
            raise ValueError(f"{where}: expected {name!r} of shape {expected[name]}, got {tensor.shape}")
        if not np.isfinite(tensor).all():
            raise ValueError(f"{where}: {name!r} has values that are not finite")
        flat[path] = np.asarray(tensor.T if path[-1] == "kernel" else tensor, np.float32)
    return flax.traverse_util.unflatten_dict(flat)


def _param_shapes(network: Bert) -> dict[Path, tuple[int, ...]]:
    """The shapes of the network's parameters by path, found without computing."""
    tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    variables: Any = jax.eval_shape(network.init, jax.random.key(0), tokens, jax.ShapeDtypeStruct((1, 1), jnp.bool_))
    return {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(variables["params"]).items()}


def _tensor_name(path: Path) -> str:
    """encoder.layer.0.attention.self.query.weight for (layer_0, query, kernel)."""
    *outer, layer, parameter = path
    if outer:
        index = outer[0].removeprefix("layer_")
        return f"encoder.layer.{index}.{_LAYER_TENSORS[layer]}.{_PARAMETER_NAMES[parameter]}"
    return f"{_EMBEDDING_TENSORS[layer]}.{_PARAMETER_NAMES[parameter]}"


def _torch_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """PyTorch has the matrix of a linear layer as (out, in)."""
    return shape[::-1] if path[-1] == "kernel" else shape
