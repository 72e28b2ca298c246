"""The probability-flow ODE of a denoiser in log-SNR: its right-hand side, and its adaptive solution by Diffrax.

With lambda the log-SNR and c^2 = sigmoid(lambda), s^2 = sigmoid(-lambda), the normalized state y = x / N with
N = sqrt(alpha^2 + sigma^2) is y = c x_0 + s eps, and moves by

    dy / dlambda = (c s / 2) (s x_0 - c eps).

This is dx/dt = alpha' x_0 + sigma' eps (arXiv:2011.13456, eq. 13, written with both predictions) for every alpha and
sigma. The slopes alpha' and sigma', infinite at t = 0 or t = 1 for some schedules and with a jump at every step of a
discrete one, do not appear: a schedule only says at which time a log-SNR is reached.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Float, Int

from diffax import arrays
from diffax.typing import Denoiser, Numeric, Schedule

Sample = Float[jax.Array, "batch *dims"]
LogSnr = Float[jax.Array, " batch"]
# States of a batch at one log-SNR each, to their derivatives in log-SNR.
Slope = Callable[[Any, LogSnr], Any]
# In nats. Beyond, the smaller of alpha and sigma is 3e-7 of the other, and the state does not move any more.
LARGEST_LOG_SNR = 30.0
# In nats. The state of Gaussian data passes from noise to data within 4.4 nats: a longer step might not see it.
LARGEST_STEP = 4.0
_FIRST_STEP = 0.25


class Solution(NamedTuple):
    """The states at the last log-SNR, and the number of function evaluations (NFE) of each sample, (batch,)."""

    y: Any
    num_evaluations: Int[jax.Array, " batch"]


def log_snr_of(schedule: Schedule, t: jax.Array) -> jax.Array:
    """The log-SNR at t, within +-LARGEST_LOG_SNR."""
    return jnp.clip(schedule.log_snr(t), -LARGEST_LOG_SNR, LARGEST_LOG_SNR)


def norm(schedule: Schedule, t: jax.Array) -> jax.Array:
    """N = sqrt(alpha^2 + sigma^2), the ratio of the state x to the normalized state y; 1 if variance preserving."""
    return jnp.hypot(schedule.alpha(t), schedule.sigma(t))


def velocity(denoiser: Denoiser, schedule: Schedule, y: Sample, log_snr: LogSnr) -> Sample:
    """The derivative dy / dlambda of the normalized states at their log-SNRs."""
    t = jnp.clip(schedule.t_of_log_snr(log_snr), 0, 1)
    x_0, eps = (half.astype(y.dtype) for half in denoiser(arrays.expand_to(norm(schedule, t), y) * y, t)[:2])
    c, s = jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.sqrt(jax.nn.sigmoid(-log_snr))
    return arrays.expand_to(c * s**2 / 2, y) * x_0 - arrays.expand_to(c**2 * s / 2, y) * eps


def solve(
    slope: Slope,
    y: Any,
    start: Float[jax.Array, ""],
    end: Float[jax.Array, ""],
    *,
    rtol: Numeric,
    atol: Numeric,
    max_steps: int,
    throw: bool = False,
) -> Solution:
    """Solves dy / dlambda = slope(y, lambda) adaptively, by Tsitouras' method of order 5.

    Each sample has its own step sizes and does not depend on the others; the batch takes as long as its slowest
    sample. slope is called on the whole batch, in its order, so that a denoiser may have a condition for every row.
    float32 does not reach tolerances below about 1e-6. Not differentiable in reverse mode.

    Args:
      y: the states at `start`, a pytree of arrays (batch, ...).
      start, end: log-SNRs, in either order.
      rtol, atol: the error of a step is kept below atol + rtol |y|: the root mean square over each array of y, and the
        largest of the arrays.
      throw: whether a sample that takes more than max_steps steps is a RuntimeError; otherwise its state is NaN.

    Raises:
      RuntimeError (at run time): more than max_steps steps, where throw.
    """
    import diffrax  # imported here because it is slow to import and no table needs it

    def error_norm(error: Any) -> jax.Array:
        return jnp.stack([jnp.sqrt((leaf**2).mean()) for leaf in jax.tree.leaves(error)]).max()

    of_one = _vmapped_at_once(slope, y, start)
    term = diffrax.ODETerm(lambda log_snr, state, _: of_one(state, log_snr))
    relative, absolute = (jnp.asarray(value, start.dtype) for value in (rtol, atol))
    controller = diffrax.PIDController(rtol=relative, atol=absolute, dtmax=LARGEST_STEP, norm=error_norm)
    first = jnp.where(end > start, _FIRST_STEP, -_FIRST_STEP).astype(start.dtype)

    def one(state: Any) -> tuple[Any, Any]:
        solution = diffrax.diffeqsolve(
            term,
            diffrax.Tsit5(),
            start,
            end,
            first,
            state,
            stepsize_controller=controller,
            max_steps=max_steps,
            adjoint=diffrax.ForwardMode(),
            throw=throw,
        )
        ended = solution.result == diffrax.RESULTS.successful
        return jax.tree.map(lambda leaf: jnp.where(ended, leaf[-1], jnp.nan), solution.ys), solution.stats["num_steps"]

    ends, steps = jax.vmap(one)(y)
    # Each step, accepted or not, has six new evaluations; one stage is reused from the step before. One comes first.
    return Solution(ends, 6 * steps + 1)


def _vmapped_at_once(slope: Slope, y: Any, start: jax.Array) -> Callable[[Any, Any], Any]:
    """A function of one sample that calls slope once for the whole batch where it is vmapped over the batch of y."""
    size = len(jax.tree.leaves(y)[0])
    traced = jax.make_jaxpr(slope)(y, jnp.broadcast_to(start, (size,)))
    structure = jax.tree.structure(y)  # of a state, and of its derivative

    # What slope closes over is an argument here: within the solver's loop it would be of another trace.
    def of_batch(constants: list[Any], y: Any, log_snr: LogSnr) -> Any:
        closed = core.ClosedJaxpr(traced.jaxpr, constants)
        return jax.tree.unflatten(structure, core.jaxpr_as_fun(closed)(*jax.tree.leaves((y, log_snr))))

    @jax.custom_batching.custom_vmap
    def of_one(constants: list[Any], y: Any, log_snr: jax.Array) -> Any:
        rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (size, *leaf.shape)), (y, log_snr))
        return jax.tree.map(lambda leaf: leaf[0], of_batch(constants, *rows))

    @of_one.def_vmap
    def at_once(axis_size: int, batched: Any, constants: list[Any], y: Any, log_snr: jax.Array) -> Any:
        assert axis_size == size and not any(batched[0])
        rows = jax.tree.map(
            lambda leaf, is_row: leaf if is_row else jnp.broadcast_to(leaf, (size, *leaf.shape)),
            (y, log_snr),
            tuple(batched[1:]),
        )
        return of_batch(constants, *rows), jax.tree.map(lambda leaf: True, y)

    return lambda y, log_snr: of_one(traced.consts, y, log_snr)
