"""Mean and covariance of features by streaming sufficient statistics, which merge exactly over any number of shards."""

import dataclasses
import functools
import os
import zipfile
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from diffax.evaluation import _checks
from diffax.reporting import atomic


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """The number of samples, their mean, and their scatter matrix, sum_i (x_i - mean) (x_i - mean)^T, in float64.

    Statistics of shards, computed in any order or process, merge into those of the whole set:

        moments = Moments.of(first_shard) + Moments.of(second_shard)
    """

    count: int
    mean: Float[np.ndarray, " dim"]
    scatter: Float[np.ndarray, "dim dim"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "n dim"]) -> "Moments":
        """The moments of features, which are converted to float64 block by block.

        Raises:
          ValueError: another shape, no sample, or features that are not finite.
        """
        features = _checks.features(features)
        return merged(_of_block(features[rows]) for rows in _checks.blocks(len(features)))

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both sets together (Chan, Golub and LeVeque, 1983, eq. 2.1).

        Raises:
          ValueError: features of different dimensions.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"only moments of features of one dimension can be merged, got {len(self.mean)} and {len(other.mean)}"
            )
        count = self.count + other.count
        difference = other.mean - self.mean
        scaled = difference * np.sqrt(self.count * other.count / count)
        scatter = np.outer(scaled, scaled)
        scatter += self.scatter
        scatter += other.scatter
        return Moments(count, self.mean + difference * (other.count / count), scatter)

    @property
    def covariance(self) -> Float[np.ndarray, "dim dim"]:
        """The unbiased covariance, scatter / (count - 1).

        Raises:
          ValueError: a single sample.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 samples, got {self.count}")
        return self.scatter / (self.count - 1)

    @property
    def is_constant(self) -> bool:
        """Whether all of at least two samples are the same, but for rounding errors of their mean."""
        rounding = 1e-14 * np.abs(self.mean)
        return self.count > 1 and bool((self.scatter.diagonal() <= self.count * rounding**2).all())


def _of_block(features: np.ndarray) -> Moments:
    centred = features.astype(np.float64)
    mean = centred.mean(axis=0)
    centred -= mean
    return Moments(len(centred), mean, centred.T @ centred)


def merged(moments: Iterable[Moments]) -> Moments:
    """The moments of all shards together. Their order changes the result by rounding errors only.

    Raises:
      ValueError: no shard, or features of different dimensions.
    """
    moments = iter(moments)
    first = next(moments, None)
    if first is None:
        raise ValueError("moments of no shard cannot be merged: at least one is needed")
    return functools.reduce(Moments.__add__, moments, first)


def save(path: str | os.PathLike, moments: Moments) -> None:
    """Writes moments to an .npz file, atomically: reference statistics to keep, or those of one process's shard."""
    with atomic.replacing(path) as file:
        np.savez(file, count=np.int64(moments.count), mean=moments.mean, scatter=moments.scatter)


def load(path: str | os.PathLike) -> Moments:
    """Reads what `save` wrote; bitwise the same. Pickled objects are refused.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file that `save` did not write, or a damaged one.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            count, mean, scatter = (np.asarray(file[name]) for name in ("count", "mean", "scatter"))
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{os.fspath(path)} holds no moments (arrays count, mean and scatter in .npz): {error}"
        ) from error
    shapes_fit = count.shape == () and mean.ndim == 1 and scatter.shape == 2 * mean.shape
    kinds_fit = count.dtype.kind in "iu" and mean.dtype == scatter.dtype == np.float64
    if not (shapes_fit and kinds_fit and count >= 1 and np.isfinite(mean).all() and np.isfinite(scatter).all()):
        raise ValueError(
            f"{os.fspath(path)} holds no moments: expected finite float64 arrays mean (dim,) and scatter (dim, dim) "
            f"and an integer count >= 1, got shapes {mean.shape}, {scatter.shape} and count {count}"
        )
    return Moments(int(count), mean, scatter)
