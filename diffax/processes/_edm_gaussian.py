"""EDM preconditioning whose skip connection is the exact denoiser of a Gaussian with the data's mean and covariance."""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from diffax import arrays
from diffax.processes.parameterizations import Edm
from diffax.typing import Array, Numeric, Prediction, Schedule

Sample = Float[Array, "batch *dims"]
# Relative to the largest eigenvalue. In directions in which the data do not vary at all, eps would otherwise be float32
# rounding errors divided by sigma.
_SMALLEST_EIGENVALUE = 1e-6
# The eigenvectors of this many take 134 MB in float64, and a minute to compute.
MOST_NUMBERS = 4096


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class EdmGaussian(Edm):
    """EDM preconditioning with a Gaussian skip: the network outputs the correction F to a Gaussian's posterior means.

    With the covariance C = V diag(lambda) V^T of the data, r = V^T (x_t - alpha mean) / (alpha^2 lambda + sigma^2) and
    S = sigma^2 + alpha^2 sd^2:
      x_0 = mean + V (alpha lambda r) + sigma sd F / sqrt(S),   eps = V (sigma r) - alpha sd F / sqrt(S).
    Edm is the case mean = 0, C = sd^2 I. A network that outputs 0 samples the Gaussian, so that there is little left to
    learn at high noise levels, where learned scores are close to Gaussian ones (arXiv:2412.09726). The cost is two
    products with the eigenvectors per prediction.

    mean, eigenvalues, eigenvectors: those of processes.Moments; `edm_gaussian` sets them.
    as_input: whether the network is given the Gaussian's x_0 and eps as further channels. The products are dense, so
      that a convolutional network cannot tell from x_t what it corrects.
    """

    mean: Array
    eigenvalues: Array
    eigenvectors: Array
    as_input: bool = dataclasses.field(default=False, metadata={"static": True})

    def network_input(self, schedule: Schedule, x_t: Sample, t: Numeric) -> Array:
        scaled = super().network_input(schedule, x_t, t)
        if not self.as_input:
            return scaled
        known = self._known(schedule, x_t, t)
        return arrays.namespace(x_t).concatenate([scaled, known.x_0, known.eps], axis=-1)

    def target(self, schedule: Schedule, x_0: Sample, eps: Sample, t: Numeric) -> Sample:
        alpha, sigma = (arrays.expand_to(value(t), x_0) for value in (schedule.alpha, schedule.sigma))
        known = self._known(schedule, alpha * x_0 + sigma * eps, t)
        return super().target(schedule, x_0 - known.x_0, eps - known.eps, t)

    def predict(self, schedule: Schedule, net_out: Sample, x_t: Sample, t: Numeric) -> Prediction:
        known = self._known(schedule, x_t, t)
        learned = super().predict(schedule, net_out, 0 * x_t, t)
        return Prediction(known.x_0 + learned.x_0, known.eps + learned.eps)

    def _known(self, schedule: Schedule, x_t: Sample, t: Numeric) -> Prediction:
        """The exact prediction at x_t for Gaussian data."""
        xp, flat = arrays.namespace(x_t, t), x_t.reshape(len(x_t), -1)
        alpha, sigma = (arrays.expand_to(value(t), flat) for value in (schedule.alpha, schedule.sigma))
        leaves = (self.mean, self.eigenvalues, self.eigenvectors, self.eigenvectors.T)
        mean, values, vectors, rows = (xp.asarray(leaf, x_t.dtype) for leaf in leaves)
        mean, values = mean.reshape(1, -1), values[None]
        shrunk = _product(xp, flat - alpha * mean, rows) / (alpha**2 * values + sigma**2)
        # One product for both: at small batches its time is that of reading the eigenvectors. The two of an example lie
        # side by side, so that a batch stays on its devices.
        pairs = xp.stack((alpha * values * shrunk, sigma * shrunk), axis=1)
        both = _product(xp, pairs.reshape(-1, pairs.shape[-1]), vectors).reshape(pairs.shape)
        x_0, eps = mean + both[:, 0], both[:, 1]
        return Prediction(x_0.reshape(x_t.shape), eps.reshape(x_t.shape))


class Moments(NamedTuple):
    """The mean and covariance of data with examples of shape dims, d = prod(dims) numbers each; float64 NumPy.

    mean: (*dims).
    eigenvalues: (d,), those of the covariance, in ascending order and at least 1e-6 of the largest.
    eigenvectors: (d, d), those of the covariance, one per column.
    """

    mean: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray


def edm_gaussian(moments: Moments, sigma_data: Numeric = 0.5, *, as_input: bool = False) -> EdmGaussian:
    """EDM preconditioning with a Gaussian skip: EdmGaussian with these moments of the data.

    Args:
      moments: of the data in the network's range; `processes.moments` computes them.
      sigma_data: the scale of the learned part, as in Edm.
      as_input: whether the network is given the Gaussian's x_0 and eps beside x_t, as three times its channels.
    """
    return EdmGaussian(sigma_data, **moments._asdict(), as_input=as_input)


def moments(data: Float[np.ndarray, "n *dims"]) -> Moments:
    """The mean and covariance of data (n, *dims), for edm_gaussian. Memory d^2 and time d^3 for examples of d numbers.

    Raises:
      ValueError: examples of more than MOST_NUMBERS numbers, or all alike.
    """
    flat = np.asarray(data, np.float64).reshape(len(data), -1)
    if flat.shape[1] > MOST_NUMBERS:
        raise ValueError(
            f"edm_gaussian needs examples of at most {MOST_NUMBERS:,} numbers, got {flat.shape[1]:,}: use edm"
        )
    values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False, bias=True).reshape(flat.shape[1], -1))
    if not values.max() > 0:
        raise ValueError("edm_gaussian needs data that vary, got examples that are all alike: use edm")
    values = np.maximum(values, _SMALLEST_EIGENVALUE * values.max())
    return Moments(flat.mean(0).reshape(data.shape[1:]), values, vectors)


def _product(xp: Any, x: Array, rows: Array) -> Array:
    """x @ rows.T in full precision; accelerators use 8 or 11 bits of mantissa by default.

    XLA's CPU kernel for it takes 0.6 of the time of x @ matrix with a (3072, 3072) matrix and 16 rows of x, and 0.5
    with 32, if the transpose is not an operation of its own that is folded into the constant.
    """
    if xp is np:
        return x @ rows.T
    return jax.lax.dot_general(x, rows, (((1,), (1,)), ((), ())), precision=jax.lax.Precision.HIGHEST)
