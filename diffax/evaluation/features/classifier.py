"""A small classifier of the data set at hand: features and class probabilities where no published network fits.

A convolutional network is trained on the training images and their labels by a fixed recipe. Its penultimate layer
gives the features. It is trained once and then read from the cache directory, under a name that is the hash of the data
and of the recipe. Measured on two CPU cores: 12 CPU seconds for 8x8 digits, of which it names 98.9% of 360 held-out
ones, and 71 for the 50,000 training images of CIFAR-10, with 68.2% of 2,000 held-out ones.
"""

import contextlib
import dataclasses
import functools
import hashlib
import math
import pathlib
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Integer, Num, Shaped, UInt8

from diffax import devices
from diffax.evaluation.features import weights
from diffax.evaluation.features.extractor import NetworkExtractor, checked_images, normalised
from diffax.reporting import atomic

Report = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the classifier is trained: AdamW with cosine decay, no augmentation. `version` changes with the network."""

    num_steps: int
    seed: int
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    version: int = 1


def classifier(
    images: Shaped[np.ndarray, "n *dims"],
    labels: Shaped[np.ndarray, " m"],
    *,
    num_steps: int = 1500,
    seed: int = 0,
    batch_size: int = 256,
    report: Report | None = None,
) -> NetworkExtractor:
    """The 128 features before the last layer of a classifier of these images, and its class probabilities.

    Args:
      images: the training images, uint8 (n, height, width, 1 or 3).
      labels: their classes, 0 .. classes - 1, of shape (n,).
      num_steps: of training, each on 128 images.
      seed: of the initialization and of the order of the images.
      batch_size: of the computation of features.
      report: called with the steps done and num_steps while it trains.

    Raises:
      ValueError: images that are no uint8 images, labels that do not match them, or fewer than 2 classes.
    """
    images = checked_images("classifier", images)
    labels = _checked_labels(labels, len(images))
    if num_steps < 1:
        raise ValueError(f"num_steps must be >= 1, got {num_steps}")
    network = Classifier(int(labels.max()) + 1)
    recipe = Recipe(num_steps, seed)
    path = devices.cache_directory() / "classifiers" / f"{_key(images, labels, recipe)}.npz"
    params = _cached(path, network, images.shape[1:])
    if params is None:
        params = train(network, images, labels, recipe, report=report)
        with contextlib.suppress(OSError), atomic.replacing(path) as file:  # a cache that cannot be written is no error
            np.savez(file, allow_pickle=False, **_flat(params))
    side = "x".join(map(str, images.shape[1:3]))
    return NetworkExtractor(
        name="classifier",
        preprocessing=f"x / 127.5 - 1, images as they are ({side})",
        checksum=weights.checksum_of(_flat(params)),
        params=params,
        apply=functools.partial(features, network),
        prepare=functools.partial(_checked_size, images.shape[1:3]),
        batch_size=batch_size,
        num_channels=images.shape[-1],
        resize=lambda samples: samples,
    )


def features(
    network: "Classifier", params: Any, images: Num[Array, "batch height width channels"]
) -> tuple[Float[Array, "batch 128"], Float[Array, "batch classes"]]:
    """Features and class probabilities."""
    result: Any = network.apply({"params": params}, _scaled(images))
    values, logits = result
    return values, jax.nn.softmax(logits, axis=-1)


class Classifier(nn.Module):
    """Images (batch, height, width, channels) in [-1, 1] to features (batch, 128) and logits (batch, classes).

    Convolutions halve the sides until the shorter one is at most 4; a dense layer follows.
    """

    num_classes: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> tuple[Float[Array, "batch 128"], Float[Array, "batch classes"]]:
        side = min(x.shape[1:3])
        # The first convolution halves the sides of larger images: 0.04 CPU seconds a step of 32x32 instead of 0.28.
        strides = ([1] if side <= 8 else []) + [2] * max(1, math.ceil(math.log2(side / 4)))
        for index, stride in enumerate(strides):
            width = min(32 << index, 128)
            x = nn.relu(nn.Conv(width, (3, 3), strides=(stride, stride), name=f"conv_{index}")(x))
        values = nn.relu(nn.Dense(128, name="dense")(x.reshape(x.shape[0], -1)))
        return values, nn.Dense(self.num_classes, name="logits")(values)


def train(
    network: Classifier,
    images: UInt8[np.ndarray, "n height width channels"],
    labels: Integer[np.ndarray, " n"],
    recipe: Recipe,
    *,
    report: Report | None = None,
) -> dict[str, Any]:
    """The parameters of the classifier, trained on the cross-entropy; a function of data and recipe alone."""
    init, step = _programs(network, recipe)
    params, state = init(jax.random.key(recipe.seed), jnp.zeros((1, *images.shape[1:])))
    for index, rows in enumerate(_rows(len(images), recipe)):
        params, state = step(params, state, images[rows], labels[rows])
        if index % 50 == 49 or index + 1 == recipe.num_steps:
            jax.block_until_ready(params)  # so that the host does not run ahead of the device
            if report is not None:
                report(index + 1, recipe.num_steps)
    return jax.device_get(params)


@functools.cache
def _programs(network: Classifier, recipe: Recipe) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The compiled initialization and training step."""
    schedule = optax.cosine_decay_schedule(recipe.learning_rate, recipe.num_steps)
    optimizer = optax.adamw(schedule, weight_decay=recipe.weight_decay)

    @jax.jit
    def init(key: Array, image: Array) -> tuple[Any, Any]:
        params = network.init(key, image)["params"]
        return params, optimizer.init(params)

    def loss(params: Any, batch: Array, targets: Array) -> Array:
        result: Any = network.apply({"params": params}, _scaled(batch))
        return optax.softmax_cross_entropy_with_integer_labels(result[1], targets).mean()

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, batch: Array, targets: Array) -> tuple[Any, Any]:
        with jax.default_matmul_precision("highest"):
            gradients = jax.grad(loss)(params, batch, targets)
        with jax.numpy_dtype_promotion("standard"):  # Optax raises a float to the power of an integer count
            updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return init, step


def _rows(count: int, recipe: Recipe) -> Iterator[np.ndarray]:
    """The examples of each step: a new permutation each epoch, one after another."""
    rng = np.random.default_rng(recipe.seed)
    rows = np.empty(0, np.int64)
    for _ in range(recipe.num_steps):
        while len(rows) < recipe.batch_size:
            rows = np.concatenate([rows, rng.permutation(count)])
        yield rows[: recipe.batch_size]
        rows = rows[recipe.batch_size :]


def _scaled(images: Array) -> Array:
    return normalised(images, (127.5,), (127.5,))


def _checked_labels(labels: np.ndarray, count: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"classifier needs {count} whole-number labels, one for each image, got {labels.dtype} of shape "
            f"{labels.shape}"
        )
    if labels.min() < 0 or labels.max() < 1:
        raise ValueError(f"classifier needs labels 0, 1, ... of at least 2 classes, got {labels.min()}..{labels.max()}")
    return labels.astype(np.int32)


def _checked_size(sides: tuple[int, int], images: np.ndarray) -> np.ndarray:
    if images.shape[1:3] != sides:
        raise ValueError(f"classifier was trained on images of {sides}, got images of {images.shape[1:3]}")
    return images


def _key(images: np.ndarray, labels: np.ndarray, recipe: Recipe) -> str:
    digest = hashlib.sha256(f"{recipe} {images.shape}".encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()[:32]


def _flat(params: Any) -> dict[str, Any]:
    return flax.traverse_util.flatten_dict(params, sep="/")


def _cached(path: pathlib.Path, network: Classifier, shape: tuple[int, ...]) -> dict[str, Any] | None:
    """The parameters that were kept; None if there are none, or if the file is damaged."""
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    expected = _flat(jax.eval_shape(network.init, jax.random.key(0), images)["params"])
    try:
        with np.load(path, allow_pickle=False) as kept:
            params = {name: kept[name] for name in kept.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    if {name: value.shape for name, value in params.items()} != {name: each.shape for name, each in expected.items()}:
        return None
    return flax.traverse_util.unflatten_dict(params, sep="/")
