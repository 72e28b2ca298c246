"""The Inception network of 2015, whose features define FID and whose class probabilities the Inception score.

FID (arXiv:1706.08500) and the Inception score (arXiv:1606.03498) use the TensorFlow graph inception-2015-12-05, an
Inception v3 (arXiv:1512.00567) of 1,008 outputs. It differs from other Inception v3 networks in its weights, in average
pooling that leaves out the padding, and in a max pooling in the last block. The weights are read from their conversion
to PyTorch, pt_inception-2015-12-05-6726825d.pth, which pytorch-fid publishes.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from diffax.data import download
from diffax.evaluation.features import conversion, resize, weights
from diffax.evaluation.features.extractor import NetworkExtractor, normalised

REMOTE = download.Remote(
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    95_628_359,
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
SIZE = 299
_EPSILON = 1e-3
_NUM_OUTPUTS = 1008


def inception_2015(*, path: str | None = None, batch_size: int = 32) -> NetworkExtractor:
    """The features of FID: the 2,048 numbers before the last layer, and the probabilities of the Inception score.

    The probabilities are the softmax over all 1,008 outputs without their bias, as the published Inception scores
    are computed.

    Args:
      path: of the weights, .pth or .safetensors, with the names of pytorch-fid's file; None downloads that file once
        (96 MB) and verifies its checksum.

    Raises:
      ValueError: weights that cannot be read or downloaded, or are those of another network.
    """
    path = path or str(weights.downloaded(REMOTE))
    return NetworkExtractor(
        name="inception_2015",
        preprocessing=f"whole image to {SIZE}x{SIZE} by TensorFlow 1's bilinear resize (align_corners=False, no "
        "half-pixel centres, no antialiasing, no rounding), then (x - 128) / 128",
        checksum=weights.checksum(path),
        params=load(path),
        apply=features,
        prepare=lambda images: images,
        resize=lambda images: images,
        batch_size=batch_size,
    )


def load(path: str) -> dict[str, Any]:
    """The parameters of `Inception` from a file of weights. Raises ValueError."""
    shapes = conversion.shapes_of(Inception(), (1, 75, 75, 3))
    expected = conversion.torch_shapes(shapes, _source)
    state = weights.selected(weights.read(path), expected, path, ignored=r".*\.num_batches_tracked|AuxLogits\..*")
    return conversion.parameters(shapes, state, _source, epsilon=_EPSILON)


def features(
    params: dict[str, Any], images: UInt8[Array, "batch height width 3"]
) -> tuple[Float[Array, "batch 2048"], Float[Array, "batch 1008"]]:
    """Features and class probabilities of images of any size."""
    resized = resize.tensorflow1_bilinear(images, SIZE)
    result: Any = Inception().apply({"params": params}, normalised(resized, (128.0,), (128.0,)))
    pooled, logits = result
    return pooled, jax.nn.softmax(logits - params["fc"]["bias"][None], axis=-1)


class Inception(nn.Module):
    """Images (batch, 299, 299, 3), normalised, to pool3 features (batch, 2048) and logits (batch, 1008)."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width 3"]
    ) -> tuple[Float[Array, "batch 2048"], Float[Array, "batch 1008"]]:
        x = _Conv(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(x)
        x = _Conv(32, (3, 3), 1, "VALID", name="Conv2d_2a_3x3")(x)
        x = _Conv(64, (3, 3), name="Conv2d_2b_3x3")(x)
        x = _halved(x)
        x = _Conv(80, name="Conv2d_3b_1x1")(x)
        x = _Conv(192, (3, 3), 1, "VALID", name="Conv2d_4a_3x3")(x)
        x = _halved(x)
        for name, pool_width in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = _BlockA(pool_width, name=name)(x)
        x = _BlockB(name="Mixed_6a")(x)
        for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            x = _BlockC(width, name=name)(x)
        x = _BlockD(name="Mixed_7a")(x)
        x = _BlockE(_average_pool, name="Mixed_7b")(x)
        x = _BlockE(_max_pool, name="Mixed_7c")(x)
        pooled = x.mean(axis=(1, 2))
        return pooled, nn.Dense(_NUM_OUTPUTS, name="fc")(pooled)


class _Conv(nn.Module):
    """A convolution with its batch norm folded in, and a ReLU."""

    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        convolution = nn.Conv(
            self.width, self.kernel, (self.stride, self.stride), padding=self.padding, name="convolution"
        )
        return nn.relu(convolution(x))


class _BlockA(nn.Module):
    pool_width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        branches = [
            _Conv(64, name="branch1x1")(x),
            _chain(x, ("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))),
            _chain(x, ("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))),
            _Conv(self.pool_width, name="branch_pool")(_average_pool(x)),
        ]
        return jnp.concatenate(branches, axis=-1)


class _BlockB(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        double = _chain(x, ("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)))
        branches = [
            _Conv(384, (3, 3), 2, "VALID", name="branch3x3")(x),
            _Conv(96, (3, 3), 2, "VALID", name="branch3x3dbl_3")(double),
            _halved(x),
        ]
        return jnp.concatenate(branches, axis=-1)


class _BlockC(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = self.width
        branches = [
            _Conv(192, name="branch1x1")(x),
            _chain(x, ("branch7x7_1", width, (1, 1)), ("branch7x7_2", width, (1, 7)), ("branch7x7_3", 192, (7, 1))),
            _chain(
                x,
                ("branch7x7dbl_1", width, (1, 1)),
                ("branch7x7dbl_2", width, (7, 1)),
                ("branch7x7dbl_3", width, (1, 7)),
                ("branch7x7dbl_4", width, (7, 1)),
                ("branch7x7dbl_5", 192, (1, 7)),
            ),
            _Conv(192, name="branch_pool")(_average_pool(x)),
        ]
        return jnp.concatenate(branches, axis=-1)


class _BlockD(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        wide = _chain(x, ("branch7x7x3_1", 192, (1, 1)), ("branch7x7x3_2", 192, (1, 7)), ("branch7x7x3_3", 192, (7, 1)))
        branches = [
            _Conv(320, (3, 3), 2, "VALID", name="branch3x3_2")(_Conv(192, name="branch3x3_1")(x)),
            _Conv(192, (3, 3), 2, "VALID", name="branch7x7x3_4")(wide),
            _halved(x),
        ]
        return jnp.concatenate(branches, axis=-1)


class _BlockE(nn.Module):
    pool: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        single = _Conv(384, name="branch3x3_1")(x)
        double = _chain(x, ("branch3x3dbl_1", 448, (1, 1)), ("branch3x3dbl_2", 384, (3, 3)))
        branches = [
            _Conv(320, name="branch1x1")(x),
            _Conv(384, (1, 3), name="branch3x3_2a")(single),
            _Conv(384, (3, 1), name="branch3x3_2b")(single),
            _Conv(384, (1, 3), name="branch3x3dbl_3a")(double),
            _Conv(384, (3, 1), name="branch3x3dbl_3b")(double),
            _Conv(192, name="branch_pool")(self.pool(x)),
        ]
        return jnp.concatenate(branches, axis=-1)


def _chain(x: Array, *layers: tuple[str, int, tuple[int, int]]) -> Array:
    for name, width, kernel in layers:
        x = _Conv(width, kernel, name=name)(x)
    return x


def _halved(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), strides=(2, 2))


def _max_pool(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), strides=(1, 1), padding="SAME")


def _average_pool(x: Array) -> Array:
    # TensorFlow divides by the number of pixels inside the image, not by 9.
    return nn.avg_pool(x, (3, 3), strides=(1, 1), padding="SAME", count_include_pad=False)


def _source(path: tuple[str, ...]) -> conversion.Source:
    """fc as it is; Mixed_5b.branch1x1.convolution from Mixed_5b.branch1x1.conv and .bn."""
    if path == ("fc",):
        return conversion.Source("fc")
    name = ".".join(path[:-1])
    return conversion.Source(f"{name}.conv", f"{name}.bn")
