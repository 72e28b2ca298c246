"""EDM's output over a better skip connection: the exact denoiser of a Gaussian with the data's mean and covariance."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffax import arrays
from diffax.processes.parameterizations import Edm
from diffax.typing import Array, Node, Numeric, Prediction, Schedule

Sample = Float[Array, "batch *dims"]
# Of the largest eigenvalue. Directions in which the data do not vary at all would ask for float32's rounding errors
# divided by sigma.
_SMALLEST_EIGENVALUE = 1e-6
# Their eigenvectors are 134 MB in float64, and take a minute.
MOST_NUMBERS = 4096


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class EdmGaussian(Edm):
    """F of Edm, added to the posterior means of x_0 and eps that the data's first two moments already tell.

    With C = V diag(lambda) V^T, r = V^T (x_t - alpha mean) / (alpha^2 lambda + sigma^2) and S as in Edm:
      x_0 = mean + V (alpha lambda r) + sigma sd F / sqrt(S),   eps = V (sigma r) - alpha sd F / sqrt(S).
    Edm is the case mean = 0, C = sd^2 I. A network that outputs 0 samples the Gaussian, so that nothing is left to
    learn where there is almost only noise; Gaussian scores are close to learned ones there (arXiv:2412.09726).

    mean (*dims), eigenvalues (d,) and eigenvectors (d, d), columns, of the d = prod(dims) numbers of an example; see
    edm_gaussian. Costs two products with the eigenvectors per prediction.
    """

    mean: Node[Array]
    eigenvalues: Node[Array]
    eigenvectors: Node[Array]

    def target(self, schedule: Schedule, x_0: Sample, eps: Sample, t: Numeric) -> Sample:
        alpha, sigma = (arrays.expand_to(value(t), x_0) for value in (schedule.alpha, schedule.sigma))
        known = self._known(schedule, alpha * x_0 + sigma * eps, t)
        return super().target(schedule, x_0 - known.x_0, eps - known.eps, t)

    def predict(self, schedule: Schedule, net_out: Sample, x_t: Sample, t: Numeric) -> Prediction:
        known = self._known(schedule, x_t, t)
        learned = super().predict(schedule, net_out, 0 * x_t, t)
        return Prediction(known.x_0 + learned.x_0, known.eps + learned.eps)

    def _known(self, schedule: Schedule, x_t: Sample, t: Numeric) -> Prediction:
        """What the Gaussian says of x_t."""
        xp, flat = arrays.namespace(x_t, t), x_t.reshape(len(x_t), -1)
        alpha, sigma = (arrays.expand_to(value(t), flat) for value in (schedule.alpha, schedule.sigma))
        leaves = (self.mean, self.eigenvalues, self.eigenvectors)
        mean, values, vectors = (xp.asarray(leaf, x_t.dtype) for leaf in leaves)
        mean, values = mean.reshape(1, -1), values[None]
        shrunk = _product(xp, flat - alpha * mean, vectors) / (alpha**2 * values + sigma**2)
        x_0 = mean + _product(xp, alpha * values * shrunk, vectors.T)
        eps = _product(xp, sigma * shrunk, vectors.T)
        return Prediction(x_0.reshape(x_t.shape), eps.reshape(x_t.shape))


def edm_gaussian(data: Float[np.ndarray, "n *dims"], sigma_data: Numeric = 0.5) -> EdmGaussian:
    """EdmGaussian with the mean and covariance of `data`, (n, *dims) as the network sees them, in float64.

    sigma_data scales the learned part as in Edm. Memory d^2 and time d^3 for examples of d numbers.

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
    return EdmGaussian(sigma_data, mean=flat.mean(0).reshape(data.shape[1:]), eigenvalues=values, eigenvectors=vectors)


def _product(xp: Any, x: Array, matrix: Array) -> Array:
    """x @ matrix in full precision: accelerators default to 8 or 11 bits of mantissa."""
    return x @ matrix if xp is np else jnp.matmul(x, matrix, precision=jax.lax.Precision.HIGHEST)
