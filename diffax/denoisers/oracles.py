"""Exact denoisers of Gaussian mixtures and of finite datasets, as references for networks and samplers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from diffax import arrays, processes
from diffax.typing import Array, Denoiser, Keys, Numeric, Prediction, Schedule

Points = Float[jax.Array, "batch dim"]
# Matrix products in full float32; accelerators use 8 or 11 bits of mantissa by default.
_einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class GaussianMixture:
    """The exact denoiser, density and score of Gaussian mixture data, sum_k weights_k N(means_k, covariances_k).

    `gaussian_mixture` builds and checks one. All methods are for a batch of vectors x_t, (batch, d).

    weights: (K,).
    means: (K, d).
    eigenvalues, eigenvectors: (K, d) and (K, d, d), those of the covariances; eigenvectors are columns.
    """

    schedule: Schedule
    weights: Array
    means: Array
    eigenvalues: Array
    eigenvectors: Array

    def _residuals(self, x_t: Points, t: Numeric) -> tuple[Array, ...]:
        """(alpha, sigma, residuals in the eigenbasis, their variances, log joint density) per sample and component."""
        alpha = jnp.broadcast_to(jnp.asarray(self.schedule.alpha(t), x_t.dtype), x_t.shape[:1])[:, None, None]
        sigma = jnp.broadcast_to(jnp.asarray(self.schedule.sigma(t), x_t.dtype), x_t.shape[:1])[:, None, None]
        weights, means, values, vectors = (
            jnp.asarray(leaf, x_t.dtype) for leaf in (self.weights, self.means, self.eigenvalues, self.eigenvectors)
        )
        residual = _einsum("kij,bki->bkj", vectors, x_t[:, None] - alpha * means[None])
        variance = jnp.maximum(alpha**2 * values[None] + sigma**2, 1e-24)  # 0 for point masses without noise
        log_normal = -0.5 * (residual**2 / variance + jnp.log(2 * jnp.pi * variance)).sum(-1)
        return alpha, sigma, residual, variance, jnp.log(weights)[None] + log_normal

    def __call__(self, x_t: Points, t: Numeric) -> Prediction:
        """The posterior means E[x_0 | x_t] and E[eps | x_t]."""
        alpha, sigma, residual, variance, log_joint = self._residuals(x_t, t)
        share = jax.nn.softmax(log_joint, axis=-1)[..., None]
        values, vectors = (jnp.asarray(leaf, x_t.dtype) for leaf in (self.eigenvalues, self.eigenvectors))
        means = jnp.asarray(self.means, x_t.dtype)[None]
        shrunk = residual / variance
        x_0 = means + _einsum("kij,bkj->bki", vectors, alpha * values[None] * shrunk)
        eps = _einsum("kij,bkj->bki", vectors, sigma * shrunk)
        return Prediction((share * x_0).sum(1), (share * eps).sum(1))

    def log_density(self, x_t: Points, t: Numeric) -> Float[jax.Array, " batch"]:
        """The log density log q(x_t), in nats."""
        return jax.nn.logsumexp(self._residuals(x_t, t)[-1], axis=-1)

    def score(self, x_t: Points, t: Numeric) -> Points:
        """The score: the gradient of log q(x_t)."""
        _, _, residual, variance, log_joint = self._residuals(x_t, t)
        share = jax.nn.softmax(log_joint, axis=-1)[..., None]
        vectors = jnp.asarray(self.eigenvectors, x_t.dtype)
        return -(share * _einsum("kij,bkj->bki", vectors, residual / variance)).sum(1)

    def sample(self, keys: Keys, t: Numeric = 0.0) -> Points:
        """Draws one exact sample of q(x_t) per key; t = 0 draws data (exactly so where sigma(0) = 0)."""
        which, inner, outer = arrays.split_keys(keys, 3)
        weights, means, values, vectors = (
            jnp.asarray(leaf, float) for leaf in (self.weights, self.means, self.eigenvalues, self.eigenvectors)
        )
        component = jax.vmap(lambda key: jax.random.categorical(key, jnp.log(weights)))(which)
        spread = arrays.normal_like(inner, means[component]) * jnp.sqrt(values)[component]
        x_0 = means[component] + _einsum("bij,bj->bi", vectors[component], spread)
        return processes.diffuse(self.schedule, x_0, arrays.normal_like(outer, x_0), t)

    @property
    def mean(self) -> Float[np.ndarray, " dim"]:
        """The mean of the data, in float64."""
        return np.asarray(self.weights) @ np.asarray(self.means)

    @property
    def covariance(self) -> Float[np.ndarray, "dim dim"]:
        """The covariance of the data, in float64."""
        weights, means, values, vectors = map(
            np.asarray, (self.weights, self.means, self.eigenvalues, self.eigenvectors)
        )
        within = np.einsum("k,kij,kj,klj->il", weights, vectors, values, vectors)
        centred = means - self.mean
        return within + np.einsum("k,ki,kj->ij", weights, centred, centred)


def gaussian_mixture(
    schedule: Schedule,
    weights: npt.ArrayLike,
    means: npt.ArrayLike,
    covariances: npt.ArrayLike,
) -> GaussianMixture:
    """The exact denoiser of Gaussian mixture data, sum_k weights_k N(means_k, covariances_k).

    Args:
      weights: (components,).
      means: (components, dim).
      covariances: (components, dim, dim), or standard deviations of isotropic components, (components,).

    Raises:
      ValueError: weights that do not sum to 1 or are negative, shapes that do not fit, a covariance that is not
        symmetric and positive semi-definite.
    """
    weights, means, covariances = (np.asarray(value, np.float64) for value in (weights, means, covariances))
    if weights.ndim != 1 or np.any(weights < 0) or not np.isclose(weights.sum(), 1):
        raise ValueError(f"weights must be a vector of non-negative numbers with sum 1, got {weights}")
    if means.ndim != 2 or len(means) != len(weights):
        raise ValueError(f"means must have shape ({len(weights)}, dim), got {means.shape}")
    dim = means.shape[1]
    if covariances.shape == weights.shape:
        covariances = covariances[:, None, None] ** 2 * np.eye(dim)
    if covariances.shape != (len(weights), dim, dim):
        raise ValueError(f"covariances must have shape {(len(weights), dim, dim)}, got {covariances.shape}")
    values, vectors = np.linalg.eigh(covariances)
    if not np.allclose(covariances, np.swapaxes(covariances, 1, 2)) or values.min() < -1e-9 * max(1, values.max()):
        raise ValueError("covariances must be symmetric and positive semi-definite")
    return GaussianMixture(schedule, weights, means, np.maximum(values, 0), vectors)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _Empirical:
    """The arguments of empirical."""

    schedule: Schedule
    data: Array
    noise: processes.Noise

    def __call__(self, x_t: Float[jax.Array, "batch *dims"], t: Numeric) -> Prediction:
        data = jnp.asarray(self.data, x_t.dtype).reshape(self.data.shape[0], -1)
        flat = x_t.reshape(x_t.shape[0], -1)
        alpha = jnp.broadcast_to(jnp.asarray(self.schedule.alpha(t), x_t.dtype), x_t.shape[:1])[:, None]
        sigma = jnp.broadcast_to(jnp.asarray(self.schedule.sigma(t), x_t.dtype), x_t.shape[:1])[:, None]
        sigma = jnp.maximum(sigma, 1e-12)
        # Computed from differences, because |x|^2 - 2 x d + |d|^2 cancels where sigma is small.
        distance = ((flat[:, None] - alpha[:, :, None] * data[None]) ** 2).sum(-1)
        share = jax.nn.softmax(self.noise.log_kernel(distance, sigma, flat.shape[1]), axis=-1)
        x_0 = _einsum("bn,nd->bd", share, data)
        eps = (flat - alpha * x_0) / sigma
        return Prediction(x_0.reshape(x_t.shape), eps.reshape(x_t.shape))


def empirical(
    schedule: Schedule, data: Float[Array, "n *dims"], *, noise: processes.Noise = processes.NORMAL
) -> Denoiser:
    """The optimal denoiser of a finite dataset: x_0 is the mean of the data, weighted by their likelihood given x_t.

    EDM (arXiv:2206.00364, eq. 57). It samples the training set itself. The cost is n distances per sample and call.

    Args:
      data: (n, *dims).
      noise: the law of eps, see processes.noise.
    """
    return _Empirical(schedule, data, noise)
