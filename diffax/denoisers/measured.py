"""Linear inverse problems: a denoiser that has been told a measurement y = A x_0 + noise.

Bayes adds the gradient of log p(y | x_t) to the score, which needs all of p(x_0 | x_t). Both methods here make do with
the x_0 of the denoiser and differentiate through it, at about three times its cost. A is any linear
function of a batch; its transpose is taken by JAX.
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
from diffax.typing import Array, Denoiser, Node, Numeric, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]
Measured = Float[jax.Array, "batch *measured"]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class PiGdm:
    """See pigdm."""

    denoiser: Node[Denoiser]
    schedule: Node[Schedule]
    y: Node[Array]
    noise_std: Node[Numeric]
    data_std: Node[Numeric]
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
            """(spread A A^T + noise_variance)^-1 residual of one sample."""

            def covariance(u: jax.Array) -> jax.Array:
                (back,) = transpose(u[None])
                # The floor keeps the system regular where sigma = 0; its solution is then multiplied by sigma.
                return jnp.maximum(spread, 1e-12) * self.measure(back)[0] + noise_variance * u

            return jax.scipy.sparse.linalg.cg(covariance, residual, tol=1e-6, maxiter=residual.size)[0]

        return _told(self, x_t, t, lambda residual: jax.vmap(whitened)(residual, spread))


def pigdm(
    denoiser: Denoiser,
    schedule: Schedule,
    measure: Measure,
    y: Float[Array, "batch *measured"],
    *,
    noise_std: Numeric = 0.0,
    data_std: Numeric = 1.0,
) -> PiGdm:
    """The denoiser given y = measure(x_0) + noise_std z, by pseudo-inverse guidance (Song et al., ICLR 2023, eq. 7).

    p(x_0 | x_t) is taken for a Gaussian about the denoiser's x_0 with the one variance
    r^2 = sigma^2 data_std^2 / (alpha^2 data_std^2 + sigma^2), so that y given x_t has covariance
    r^2 A A^T + noise_std^2, by which the residual is divided with conjugate gradients. Exact for data
    N(m, data_std^2); data_std = 0 is p(y | x_0) at the guess itself, arXiv:2209.14687, eq. 11.

    Args:
      measure: linear, (batch, *dims) to (batch, *measured); samples must not mix.
      noise_std: of the measurement, in the units of y.
      data_std: of the data about their mean: about 0.5 for images in [-1, 1].
    """
    return PiGdm(denoiser, schedule, y, noise_std, data_std, measure)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Dps:
    """See dps."""

    denoiser: Node[Denoiser]
    schedule: Node[Schedule]
    y: Node[Array]
    step_size: Node[Numeric]
    num_steps: Node[Numeric]
    measure: Measure = dataclasses.field(metadata={"static": True})

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        t = jnp.asarray(t, x_t.dtype)
        before = jnp.maximum(t - 1 / jnp.asarray(self.num_steps, x_t.dtype), 0)
        _, weight, _ = gaussian.posterior_coefficients(self.schedule, before, t)
        # What a step of ddpm makes of a score moved by 1.
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        moves = weight * sigma**2 / jnp.where(alpha > 0, alpha, 1)
        rate = 2 * jnp.asarray(self.step_size, x_t.dtype) / jnp.where(moves > 0, moves, 1)
        rate = jnp.where((moves > 0) & (alpha > 0), rate, 0)

        def normalized(residual: Measured) -> Measured:
            size = jnp.sqrt(arrays.sum_per_sample(residual**2))
            return arrays.expand_to(rate / jnp.where(size > 0, size, 1), residual) * residual

        return _told(self, x_t, t, normalized)


def dps(
    denoiser: Denoiser,
    schedule: Schedule,
    measure: Measure,
    y: Float[Array, "batch *measured"],
    *,
    step_size: Numeric = 1.0,
    num_steps: Numeric = 1000,
) -> Dps:
    """The denoiser given y = measure(x_0), by diffusion posterior sampling (arXiv:2209.14687, algorithm 1).

    The score is moved so that ddpm with num_steps steps does what the paper does, which is to move x after every step
    by -(step_size / |r|) times the gradient in x_t of |r|^2, r = y - measure(x_0). With fewer steps every one moves it
    by as much more. There is no measurement noise in it: step_size, 0.1 to 1 in the paper, stands for that as well.

    Args:
      measure: linear, (batch, *dims) to (batch, *measured); samples must not mix.
    """
    return Dps(denoiser, schedule, y, step_size, num_steps, measure)


def _told(told: PiGdm | Dps, x_t: Sample, t: Numeric, weigh: Callable[[Measured], Measured]) -> Prediction:
    """The score moved by the gradient in x_t of measure(x_0) . weigh(y - measure(x_0))."""

    def measured(x_t: Sample) -> tuple[Measured, Prediction]:
        prediction = told.denoiser(x_t, t)
        return told.measure(prediction.x_0), prediction

    value, pull, prediction = jax.vjp(measured, x_t, has_aux=True)
    if value.shape != told.y.shape:
        raise ValueError(f"the measurement makes {value.shape} of x_t {x_t.shape}, and y has shape {told.y.shape}")
    (gradient,) = pull(weigh(jnp.asarray(told.y, x_t.dtype) - value))
    return moved.by_score(prediction, told.schedule, x_t, t, gradient)
