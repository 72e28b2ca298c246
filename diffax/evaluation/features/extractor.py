"""Feature extractors: what maps examples to the feature vectors that the metrics compare.

An extractor is identified by its name, its preprocessing and the checksum of its weights. Values of a metric may be
compared only where all three are equal.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Shaped, UInt8

from diffax import arrays


class Features(NamedTuple):
    """Features of n examples.

    values: float32 (n, dim).
    probabilities: of the classes that the extractor knows, float32 (n, classes); None if it is no classifier.
    """

    values: np.ndarray
    probabilities: np.ndarray | None


@runtime_checkable
class Extractor(Protocol):
    """A function from examples to features, with what identifies it.

    name: the part of a metric's name that says the features, as in frechet/efficientnet_lite0.
    preprocessing: resize filter, size, antialiasing, rounding and normalisation, in one line.
    checksum: SHA-256 in hexadecimal of the weights; "" for an extractor without weights.
    """

    @property
    def name(self) -> str: ...

    @property
    def preprocessing(self) -> str: ...

    @property
    def checksum(self) -> str: ...

    def __call__(self, examples: Shaped[np.ndarray, "n *dims"]) -> Features:
        """The features of uint8 images (n, height, width, 1 or 3). Raises ValueError for other examples."""


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class SampleFeatures:
    """Features as a differentiable function of samples in the network's range, for losses; a pytree.

    The features are those that an extractor gives the samples when they are bytes, but for the rounding to bytes.
    """

    params: Any
    function: Callable[[Any, Array], Array] = dataclasses.field(metadata={"static": True})

    def __call__(self, x: Float[Array, "batch *dims"]) -> Float[Array, "batch dim"]:
        return self.function(self.params, x)


def of_samples(extractor: Extractor) -> SampleFeatures:
    """The features of an extractor as a differentiable function, its `of_samples`.

    Raises:
      ValueError: an extractor without one, such as one that resizes images on the host alone.
    """
    found = getattr(extractor, "of_samples", None)
    if found is None:
        raise ValueError(
            f"the features {extractor.name!r} cannot be trained on, since they are no differentiable function of "
            "samples: use pixels, classifier, efficientnet_lite0 or inception_2015"
        )
    return found


@dataclasses.dataclass(frozen=True)
class NetworkExtractor:
    """An extractor that applies a network to batches of images, in one compiled program at `highest` precision.

    The last batch is padded with zeros, so that every batch has the same shape. The features of an image depend on no
    other image of its batch.

    params: the network's parameters.
    apply: (params, images) -> (values, probabilities or None), traced; images as `prepare` returns them.
    prepare: resizes a uint8 batch of colour images on the host.
    num_channels: the channels that the network needs. One channel is repeated to three, and three are not reduced.
    resize: `prepare` as a traced, differentiable function of images of any values from 0 to 255; None where there is
      none.
    """

    name: str
    preprocessing: str
    checksum: str
    params: Any = dataclasses.field(repr=False)
    apply: Callable[[Any, Array], tuple[Array, Array | None]]
    prepare: Callable[[np.ndarray], np.ndarray]
    batch_size: int
    num_channels: int = 3
    resize: Callable[[Array], Array] | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {self.batch_size}")

    def __call__(self, examples: Shaped[np.ndarray, "n *dims"]) -> Features:
        """The features of uint8 images (n, height, width, 1 or 3); see checked_images for what is refused."""
        images = checked_images(self.name, examples)
        parts: list[tuple[np.ndarray, ...]] = []
        pending = None
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            batch = self.prepare(_with_channels(self.name, batch, self.num_channels))
            # The device computes a batch while the host resizes the next one.
            result = self.program(self.params, jnp.asarray(_padded(batch, self.batch_size)))
            if pending is not None:
                parts.append(jax.device_get(pending))
            pending = result
        parts.append(jax.device_get(pending))
        values, probabilities = zip(*parts, strict=True)
        known = probabilities[0] is not None
        return Features(
            np.concatenate(values)[: len(images)], np.concatenate(probabilities)[: len(images)] if known else None
        )

    @functools.cached_property
    def of_samples(self) -> SampleFeatures | None:
        """The features as a function of images in [-1, 1]; None without `resize`."""
        if self.resize is None:
            return None
        parts = functools.partial(_of_samples, self.name, self.apply, self.resize, self.num_channels)
        return SampleFeatures(self.params, parts)

    @functools.cached_property
    def program(self) -> Callable[[Any, Array], tuple[Array, Array | None]]:
        """The compiled `apply`, at `highest` precision: TF32 or bfloat16 products would change every metric."""

        def run(params: Any, images: Array) -> tuple[Array, Array | None]:
            with jax.default_matmul_precision("highest"):
                return self.apply(params, images)

        return jax.jit(run)


def _of_samples(name: str, apply: Any, resize: Any, num_channels: int, params: Any, x: Array) -> Array:
    if x.ndim != 4 or x.shape[-1] not in (1, num_channels):
        raise ValueError(f"{name} needs images of {num_channels} channels, got samples of shape {x.shape[1:]}")
    images = jnp.broadcast_to((x + 1) * 127.5, (*x.shape[:-1], num_channels))
    with jax.default_matmul_precision("highest"):
        return apply(params, resize(images))[0]


def checked_images(name: str, examples: Shaped[np.ndarray, "n *dims"]) -> UInt8[np.ndarray, "n height width channels"]:
    """The examples of an extractor of images, unchanged.

    Raises:
      ValueError: no examples, another dtype than uint8, another rank than 4 or another number of channels than 1 or 3.
    """
    examples = np.asarray(examples)
    if examples.dtype != np.uint8 or examples.ndim != 4:
        raise ValueError(
            f"{name} needs uint8 images of shape (n, height, width, 1 or 3), got {examples.dtype} of shape "
            f"{examples.shape}"
        )
    if examples.shape[-1] not in (1, 3):
        raise ValueError(f"{name} needs images of 1 or 3 channels, got {examples.shape[-1]} channels")
    if not examples.size:
        raise ValueError(f"{name} needs at least one image, got shape {examples.shape}")
    return examples


def normalised(
    images: Num[Array, "batch height width channels"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "batch height width channels"]:
    """(image - mean) / std per channel, in float32; mean and std in grey levels, 0 .. 255."""
    shift, scale = (jnp.asarray(np.asarray(each, np.float32).reshape(1, 1, 1, -1)) for each in (mean, std))
    return (images.astype(jnp.float32) - shift) / scale


def _with_channels(name: str, batch: np.ndarray, num_channels: int) -> np.ndarray:
    if batch.shape[-1] == num_channels:
        return batch
    if batch.shape[-1] == 1:
        return np.repeat(batch, num_channels, axis=-1)
    raise ValueError(f"{name} needs images of {num_channels} channel, got {batch.shape[-1]} channels")


def _padded(batch: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(batch)
    return np.pad(batch, [(0, missing)] + [(0, 0)] * (batch.ndim - 1)) if missing else batch
