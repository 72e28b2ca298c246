"""The probability-flow ODE with adaptive step sizes, solved by Diffrax."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from diffax import arrays
from diffax.processes import probability_flow as flow
from diffax.typing import Denoiser, Numeric, Schedule

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
    rtol: Numeric = 1e-5,
    atol: Numeric = 1e-5,
    max_steps: int = 4096,
) -> Solution:
    """Solves the probability-flow ODE dx/dt = alpha' x_0 + sigma' eps adaptively, by Tsitouras' method of order 5.

    arXiv:2011.13456, eq. 13, integrated in log-SNR (processes.probability_flow), pure noise and pure data included.
    Each sample has its own step sizes; the batch takes as long as its slowest sample. float32 does not reach tolerances
    below about 1e-6. In float64 this is an accurate reference for the fixed-step samplers.

    Args:
      x: the state at the time `start`, (batch, *dims); narrower dtypes than float32 are converted to it.
      start, end: times in either order. Log-SNRs beyond +-30, where the state does not move, are left out.
      rtol, atol: the error of a step is kept below atol + rtol |x|, for x scaled to alpha^2 + sigma^2 = 1.

    Raises:
      RuntimeError (at run time): more than max_steps steps.
    """
    x = arrays.at_least_float32(x)
    start, end = (jnp.asarray(t, x.dtype) for t in (start, end))
    log_snrs = flow.log_snr_of(schedule, start), flow.log_snr_of(schedule, end)
    solution = flow.solve(
        lambda y, log_snr: flow.velocity(denoiser, schedule, y, log_snr),
        x / flow.norm(schedule, start),
        *log_snrs,
        rtol=rtol,
        atol=atol,
        max_steps=max_steps,
        throw=True,
    )
    return Solution(solution.y * flow.norm(schedule, end), solution.num_evaluations)
