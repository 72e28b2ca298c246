"""The Frechet wavelet distance: Frechet distances of wavelet packets of images, with no network at all."""

import numpy as np
from jaxtyping import Float, Num

from diffax.evaluation import _checks, frechet
from diffax.evaluation.moments import Moments

_IMAGES = 512  # transformed at a time


def packets(images: Num[np.ndarray, "n height width channels"], *, level: int) -> Float[np.ndarray, "packets n dim"]:
    """The Haar wavelet packet transform: 4^level packets of dim = height width channels / 4^level coefficients.

    The orthonormal Haar packet transform to a level is a Walsh-Hadamard transform of every block of 2^level x 2^level
    pixels. A packet holds one frequency of all blocks. Packets stand in the order of the rows of scipy.linalg.hadamard
    in height, then in width.

    Args:
      images: bytes, which are divided by 255, or floats in [0, 1].

    Raises:
      ValueError: other shapes or values, or a height or width that 2^level does not divide.
    """
    from scipy import linalg

    images = _unit_range(images)
    _checks.at_least("level", level, 1)
    size = 2**level
    n, height, width, channels = images.shape
    if height % size or width % size:
        raise ValueError(f"wavelet packets of level {level} need images divisible by {size}, got {height} x {width}")
    hadamard = linalg.hadamard(size) / np.sqrt(size)
    blocks = images.reshape(n, height // size, size, width // size, size, channels)
    transformed = np.einsum("ui,vj,nhiwjc->uvnhwc", hadamard, hadamard, blocks, optimize=True)
    return transformed.reshape(size * size, n, -1)


def moments(images: Num[np.ndarray, "n height width channels"], *, level: int) -> tuple[Moments, ...]:
    """The moments of each packet, to be merged over shards packet by packet and compared by `distance`.

    Raises:
      ValueError: what `packets` refuses.
    """
    images = np.asarray(images)
    shards = (
        [Moments.of(p) for p in packets(images[rows], level=level)] for rows in _checks.blocks(len(images), _IMAGES)
    )
    # Shard by shard, so that the packets of one block of images are in memory at a time.
    total = next(shards, None)
    if total is None:
        raise ValueError("wavelet packets need at least one image")
    for shard in shards:
        total = [a + b for a, b in zip(total, shard, strict=True)]
    return tuple(total)


def distance(generated: tuple[Moments, ...], reference: tuple[Moments, ...]) -> float:
    """The Frechet wavelet distance from the `moments` of two sets of images: the mean over packets of their distances.

    arXiv:2312.15289, section 3. As in the authors' code, images are in [0, 1], channels share a packet, and the packets
    are those of one level (4 for 256 x 256 pixels in the paper). Differences: the wavelet is always Haar, as in the
    paper, where the code also offers others; sizes that 2^level does not divide are refused, not padded; there is no
    logarithm of coefficients; and no constant is added to nearly singular covariances.

    Raises:
      ValueError: sets of different levels, or what `frechet.distance` refuses.
    """
    if len(generated) != len(reference):
        raise ValueError(
            f"expected packets of one level, got {len(generated)} generated and {len(reference)} reference packets"
        )
    return float(np.mean([frechet.distance(a, b) for a, b in zip(generated, reference, strict=True)]))


def distance_between(
    generated: Num[np.ndarray, "n height width channels"],
    reference: Num[np.ndarray, "m height width channels"],
    *,
    level: int,
) -> float:
    """The Frechet wavelet distance between two sets of images with packets of `level`.

    Raises:
      ValueError: what `packets` and `distance` refuse.
    """
    return distance(moments(generated, level=level), moments(reference, level=level))


def _unit_range(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 4 or not images.size:
        raise ValueError(f"images must have shape (n >= 1, height, width, channels), got {images.shape}")
    if images.dtype == np.uint8:
        return images / 255
    # The comparison is false for NaN.
    if images.dtype.kind != "f" or not ((images >= 0) & (images <= 1)).all():
        raise ValueError(
            f"images must be uint8 or floats in [0, 1], got {images.dtype} from {images.min()} to {images.max()}"
        )
    return images.astype(np.float64)
