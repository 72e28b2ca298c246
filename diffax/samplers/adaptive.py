"""The probability-flow ODE with adaptive step sizes, solved by Diffrax."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from diffax import arrays
from diffax.samplers.runge_kutta import slopes
from diffax.typing import Array, Denoiser, Numeric, Schedule

Sample = Float[jax.Array, "batch *dims"]


class Solution(NamedTuple):
    """The state at the end time, and the number of function evaluations (NFE) of each sample, (batch,)."""

    x: Sample
    num_evaluations: Int[jax.Array, " batch"]


def probability_flow(
    denoiser: Denoiser,
    schedule: Schedule,
    x: Sample,
    *,
    start: Numeric = 1.0,
    end: Numeric = 0.0,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 4096,
) -> Solution:
    """Solves the probability-flow ODE dx/dt = alpha' x_0 + sigma' eps adaptively, by Tsitouras' method of order 5.

    arXiv:2011.13456, eq. 13, written with both predictions, so that it is regular wherever alpha' and sigma' are, pure
    noise included. Each sample has its own step sizes; the batch takes as long as its slowest sample. float32 does not
    reach tolerances below about 1e-6. In float64 this is an accurate reference for the fixed-step samplers.

    Args:
      x: the state at the time `start`, (batch, *dims); narrower dtypes than float32 are converted to it.
      start, end: times in either order.
      rtol, atol: the error of a step is kept below atol + rtol |x|.

    Raises:
      RuntimeError (at run time): more than max_steps steps.
    """
    import diffrax  # imported here because it is slow to import and no table needs it

    x = arrays.at_least_float32(x)
    controller = diffrax.PIDController(rtol=rtol, atol=atol)
    term = diffrax.ODETerm(lambda t, y, _: velocity(denoiser, schedule, y[None], t)[0])
    times = [jnp.asarray(t, x.dtype) for t in (start, end)]

    def one(x: jax.Array) -> tuple[jax.Array, Any]:
        solution = diffrax.diffeqsolve(
            term, diffrax.Tsit5(), *times, dt0=None, y0=x, stepsize_controller=controller, max_steps=max_steps
        )
        return solution.ys[-1], solution.stats["num_steps"]

    ends, steps = jax.vmap(one)(x)
    # Each step, accepted or not, has six new evaluations; one stage is reused from the step before. One comes first.
    return Solution(ends, 6 * steps + 1)


def velocity(denoiser: Denoiser, schedule: Schedule, x: Sample, t: Array) -> Sample:
    """The right-hand side dx/dt of the probability-flow ODE at x, (batch, *dims), and t, a scalar."""
    x_0, eps = (half.astype(x.dtype) for half in denoiser(x, t)[:2])
    alpha_slope, sigma_slope = slopes(schedule, jnp.asarray(t, x.dtype))
    return arrays.expand_to(alpha_slope, x) * x_0 + arrays.expand_to(sigma_slope, x) * eps
