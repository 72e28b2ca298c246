"""DINOv2 (arXiv:2304.07193): vision transformers of self-supervised features, for Frechet distances that follow people.

On DINOv2 features Frechet distances agree with human judgement better than on Inception's (arXiv:2306.04675). The
networks are ViT-S/14, ViT-B/14 and ViT-L/14 without registers; the weights are the official files.
"""

import functools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from diffax.data import download
from diffax.evaluation.features import conversion, resize, weights
from diffax.evaluation.features.extractor import NetworkExtractor, normalised

SIZE = 224
PATCH = 14
_GRID = SIZE // PATCH
_EPSILON = 1e-6  # of the layer norms
# ImageNet's mean and standard deviation, of values in [0, 1].
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The official code asks for (16 + 0.1) / 37 where it resizes 37 x 37 position embeddings to 16 x 16.
_OFFSET = 0.1


class Architecture(NamedTuple):
    """The size of a vision transformer, and its published weights."""

    width: int
    depth: int
    num_heads: int
    remote: download.Remote


def _remote(size: str, num_bytes: int, sha256: str) -> download.Remote:
    url = f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{size}14/dinov2_vit{size}14_pretrain.pth"
    return download.Remote(url, num_bytes, sha256)


ARCHITECTURES = {
    "dinov2_vits14": Architecture(
        384,
        12,
        6,
        _remote("s", 88_283_115, "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9"),
    ),
    "dinov2_vitb14": Architecture(
        768,
        12,
        12,
        _remote("b", 346_378_731, "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73"),
    ),
    "dinov2_vitl14": Architecture(
        1024,
        24,
        16,
        _remote("l", 1_217_586_395, "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"),
    ),
}


def dinov2_vits14(*, path: str | None = None, batch_size: int = 32) -> NetworkExtractor:
    """The 384 features of DINOv2 ViT-S/14; see `extractor`."""
    return extractor("dinov2_vits14", path, batch_size)


def dinov2_vitb14(*, path: str | None = None, batch_size: int = 32) -> NetworkExtractor:
    """The 768 features of DINOv2 ViT-B/14; see `extractor`."""
    return extractor("dinov2_vitb14", path, batch_size)


def dinov2_vitl14(*, path: str | None = None, batch_size: int = 32) -> NetworkExtractor:
    """The 1,024 features of DINOv2 ViT-L/14; see `extractor`."""
    return extractor("dinov2_vitl14", path, batch_size)


def extractor(name: str, path: str | None, batch_size: int) -> NetworkExtractor:
    """The normalised class token of a DINOv2 network.

    Args:
      name: a key of ARCHITECTURES.
      path: of the official weights, .pth or .safetensors; None downloads them once and verifies their checksum.

    Raises:
      ValueError: weights that cannot be read or downloaded, or are those of another network.
    """
    architecture = ARCHITECTURES[name]
    path = path or str(weights.downloaded(architecture.remote))
    network = VisionTransformer(architecture.width, architecture.depth, architecture.num_heads)
    return NetworkExtractor(
        name=name,
        preprocessing=f"whole image to {SIZE}x{SIZE} by Pillow's bicubic resize (antialiased, rounded to uint8), then "
        "(x / 255 - mean) / std of ImageNet",
        checksum=weights.checksum(path),
        params=load(network, path),
        apply=functools.partial(features, network),
        prepare=functools.partial(resize.pillow, size=SIZE, filter="bicubic"),
        batch_size=batch_size,
    )


def load(network: "VisionTransformer", path: str) -> dict[str, Any]:
    """The parameters of a network from a file of official weights, position embeddings resized. Raises ValueError."""
    shapes = conversion.shapes_of(network, (1, SIZE, SIZE, 3))
    expected = conversion.torch_shapes(shapes, _source)
    state = weights.read(path)
    positions = state.get("pos_embed")
    if positions is not None and positions.ndim == 3 and positions.shape[-1] == network.width:
        state["pos_embed"] = resized_positions(positions)
    state = weights.selected(state, expected, path, ignored="mask_token")
    return conversion.parameters(shapes, state, _source)


def features(
    network: "VisionTransformer", params: dict[str, Any], images: UInt8[Array, "batch height width 3"]
) -> tuple[Float[Array, "batch dim"], None]:
    """The features of images of 224 x 224."""
    mean, std = (tuple(255 * value for value in each) for each in (_MEAN, _STD))
    token: Any = network.apply({"params": params}, normalised(images, mean, std))
    return token, None


def resized_positions(positions: Float[np.ndarray, "1 tokens dim"]) -> Float[np.ndarray, "1 tokens_of_224 dim"]:
    """Position embeddings of a square grid of patches, after that of the class token, for 16 x 16 patches.

    Resized by PyTorch's bicubic interpolation with the scale factor (16 + 0.1) / side, as the official code does.
    """
    side = math.isqrt(positions.shape[1] - 1)
    if side in (0, _GRID) or side * side + 1 != positions.shape[1]:
        return positions  # nothing to do, or a shape that `load` refuses
    matrix = resize.bicubic_matrix(side, _GRID, scale=(_GRID + _OFFSET) / side)
    grid = positions[:, 1:].reshape(1, side, side, -1)
    grid = np.einsum("yY,xX,bYXd->byxd", matrix, matrix, grid, optimize=True)
    return np.concatenate([positions[:, :1], grid.reshape(1, _GRID * _GRID, -1)], axis=1).astype(np.float32)


class VisionTransformer(nn.Module):
    """Images (batch, 224, 224, 3), normalised, to the class token after the last layer norm, (batch, width)."""

    width: int
    depth: int
    num_heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width 3"]) -> Float[Array, "batch dim"]:
        x = nn.Conv(self.width, (PATCH, PATCH), strides=(PATCH, PATCH), padding="VALID", name="patch_embed")(x)
        x = x.reshape(x.shape[0], -1, self.width)
        token = self.param("cls_token", nn.initializers.zeros, (1, 1, self.width))
        positions = self.param("pos_embed", nn.initializers.zeros, (1, x.shape[1] + 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.width)), x], axis=1) + positions
        for index in range(self.depth):
            x = _Block(self.num_heads, name=f"blocks_{index}")(x)
        return nn.LayerNorm(epsilon=_EPSILON, use_fast_variance=False, name="norm")(x[:, 0])


class _Block(nn.Module):
    """A pre-norm transformer block with LayerScale (arXiv:2103.17239): a learned factor on each branch."""

    num_heads: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = x.shape[-1]
        h = nn.LayerNorm(epsilon=_EPSILON, use_fast_variance=False, name="norm1")(x)
        qkv = nn.Dense(3 * width, name="qkv")(h).reshape(*x.shape[:2], 3, self.num_heads, -1)
        query, key, value = (qkv[:, :, index] for index in range(3))
        h = nn.dot_product_attention(query, key, value).reshape(x.shape)
        x = x + _Scale(name="ls1")(nn.Dense(width, name="proj")(h))
        h = nn.LayerNorm(epsilon=_EPSILON, use_fast_variance=False, name="norm2")(x)
        h = nn.gelu(nn.Dense(4 * width, name="fc1")(h), approximate=False)
        return x + _Scale(name="ls2")(nn.Dense(width, name="fc2")(h))


class _Scale(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        gamma = self.param("gamma", nn.initializers.ones, (x.shape[-1],))
        return x * gamma.reshape((1,) * (x.ndim - 1) + (-1,))


def _source(path: tuple[str, ...]) -> conversion.Source:
    """blocks_0.qkv from blocks.0.attn.qkv; the tokens of the whole network have no layer."""
    parents = {"patch_embed": "patch_embed.proj", "qkv": "attn.qkv", "proj": "attn.proj"} | {
        name: f"mlp.{name}" for name in ("fc1", "fc2")
    }
    return conversion.Source(".".join(parents.get(part, part.replace("blocks_", "blocks.")) for part in path))
