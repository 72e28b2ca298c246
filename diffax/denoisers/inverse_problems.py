"""Posterior sampling for linear inverse problems y = A x_0 + noise: DPS and PiGDM.

By Bayes' rule the posterior score is the score plus the gradient of log p(y | x_t). Computing this exactly needs
p(x_0 | x_t). Both methods approximate it with the denoiser's x_0 and differentiate through the denoiser, at about three
times its cost. A is any linear function of a batch; JAX computes its transpose.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays
from diffax.denoisers import moved
from diffax.denoisers.operators import Measure
from diffax.processes import gaussian
from diffax.typing import Array, Denoiser, Numeric, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]
Measured = Float[jax.Array, "batch *measured"]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _PiGdm:
    """The denoiser, the schedule, the measurement and the options of pigdm."""

    denoiser: Denoiser
    schedule: Schedule
    y: Array
    noise_std: Numeric
    data_std: Numeric
    measure: Measure = dataclasses.field(metadata={"static": True})

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        alpha, sigma = (arrays.expand_to(value(t), x_t) for value in (self.schedule.alpha, self.schedule.sigma))
        data_variance = jnp.asarray(self.data_std, x_t.dtype) ** 2
        spread = sigma**2 * data_variance / (alpha**2 * data_variance + sigma**2)
        spread = jnp.broadcast_to(spread.ravel(), x_t.shape[:1])
        noise_variance = jnp.asarray(self.noise_std, x_t.dtype) ** 2
        like = jax.ShapeDtypeStruct((1, *x_t.shape[1:]), x_t.dtype)
        transpose = jax.linear_transpose(self.measure, like)

        def whitened(residual: jax.Array, spread: jax.Array) -> jax.Array:
            """(spread A A^T + noise_variance)^-1 residual of one sample, by conjugate gradients."""

            def covariance(u: jax.Array) -> jax.Array:
                (back,) = transpose(u[None])
                # The lower limit keeps the system regular where sigma = 0; its solution is multiplied by sigma later.
                return jnp.maximum(spread, 1e-12) * self.measure(back)[0] + noise_variance * u

            return jax.scipy.sparse.linalg.cg(covariance, residual, tol=1e-6, maxiter=residual.size)[0]

        return _posterior(self, x_t, t, lambda residual: jax.vmap(whitened)(residual, spread))


def pigdm(
    denoiser: Denoiser,
    schedule: Schedule,
    measure: Measure,
    y: Float[Array, "batch *measured"],
    *,
    noise_std: Numeric = 0.0,
    data_std: Numeric = 1.0,
) -> Denoiser:
    """PiGDM, pseudo-inverse guidance: the denoiser given y = measure(x_0) + noise_std z.

    Song et al., ICLR 2023, eq. 7. p(x_0 | x_t) is approximated by an isotropic Gaussian around x_0 with variance
    r^2 = sigma^2 data_std^2 / (alpha^2 data_std^2 + sigma^2). Then y given x_t has the covariance
    r^2 A A^T + noise_std^2, whose inverse is applied to the residual by conjugate gradients. This is exact for data
    N(m, data_std^2). data_std = 0 evaluates p(y | x_0) at the denoiser's x_0 (arXiv:2209.14687, eq. 11).

    Args:
      measure: the linear measurement, (batch, *dims) to (batch, *measured), without mixing samples; see
        denoisers.operators.
      y: the measurement, (batch, *measured).
      noise_std: the standard deviation of the measurement noise, in the units of y.
      data_std: the standard deviation of the data around their mean, about 0.5 for images in [-1, 1].

    Raises:
      ValueError: when called, y that does not have the shape of measure(x_0).
    """
    return _PiGdm(denoiser, schedule, y, noise_std, data_std, measure)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _Dps:
    """The denoiser, the schedule, the measurement and the options of dps."""

    denoiser: Denoiser
    schedule: Schedule
    y: Array
    step_size: Numeric
    num_steps: Numeric
    measure: Measure = dataclasses.field(metadata={"static": True})

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        t = jnp.asarray(t, x_t.dtype)
        before = jnp.maximum(t - 1 / jnp.asarray(self.num_steps, x_t.dtype), 0)
        _, weight, _ = gaussian.posterior_coefficients(self.schedule, before, t)
        # The change of x in a DDPM step per unit of change in the score.
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        moves = weight * sigma**2 / jnp.where(alpha > 0, alpha, 1)
        rate = 2 * jnp.asarray(self.step_size, x_t.dtype) / jnp.where(moves > 0, moves, 1)
        rate = jnp.where((moves > 0) & (alpha > 0), rate, 0)

        def normalized(residual: Measured) -> Measured:
            size = jnp.sqrt(arrays.sum_per_sample(residual**2))
            return arrays.expand_to(rate / jnp.where(size > 0, size, 1), residual) * residual

        return _posterior(self, x_t, t, normalized)


def dps(
    denoiser: Denoiser,
    schedule: Schedule,
    measure: Measure,
    y: Float[Array, "batch *measured"],
    *,
    step_size: Numeric = 1.0,
    num_steps: Numeric = 1000,
) -> Denoiser:
    """DPS, diffusion posterior sampling: the denoiser given y = measure(x_0) (arXiv:2209.14687, algorithm 1).

    The paper moves x after every step by -(step_size / |r|) times the gradient in x_t of |r|^2, r = y - measure(x_0).
    Here the score is changed so that samplers.ddpm with num_steps steps makes the same move; with fewer steps, each
    move is larger in proportion. The measurement noise is not modelled; step_size accounts for it as well.

    Args:
      measure: the linear measurement, (batch, *dims) to (batch, *measured), without mixing samples; see
        denoisers.operators.
      y: the measurement, (batch, *measured).
      step_size: 0.1 to 1 in the paper.
      num_steps: the number of steps that step_size refers to.

    Raises:
      ValueError: when called, y that does not have the shape of measure(x_0).
    """
    return _Dps(denoiser, schedule, y, step_size, num_steps, measure)


def _posterior(problem: _PiGdm | _Dps, x_t: Sample, t: Numeric, weigh: Callable[[Measured], Measured]) -> Prediction:
    """Adds the gradient in x_t of measure(x_0) . weigh(y - measure(x_0)) to the score, with weigh(...) constant."""

    def measured(x_t: Sample) -> tuple[Measured, Prediction]:
        prediction = problem.denoiser(x_t, t)
        return problem.measure(prediction.x_0), prediction

    value, pull, prediction = jax.vjp(measured, x_t, has_aux=True)
    if value.shape != problem.y.shape:
        raise ValueError(f"the measurement makes {value.shape} of x_t {x_t.shape}, and y has shape {problem.y.shape}")
    (gradient,) = pull(weigh(jnp.asarray(problem.y, x_t.dtype) - value))
    return moved.by_score(prediction, problem.schedule, x_t, t, gradient)
