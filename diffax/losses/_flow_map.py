"""What losses of flow maps share: their second time, the flow map of a raw output, and errors as velocities.

A flow map F(x_t, t, s) is right when it does not change along the trajectories of the probability-flow ODE,

    dF/dt = d_t F + (d_x F) v(x_t, t) = 0,   v = dx_t/dt = alpha' x_0 + sigma' eps.

At s = t, dF/dt = v - v_theta, the error of the velocity. So every loss here has the form |net_out - target|^2, with the
target net_out plus the error of a velocity in the units of the raw output, without its gradient; losses differ in how
they find that error. The weight is that of the denoising loss at t, so that at s = t the loss is the denoising loss.
"""

from typing import Any

import jax
import jax.numpy as jnp

from diffax import arrays, conditions, processes
from diffax.losses._denoising import weighted_square
from diffax.losses._loss import Noised, PerSample, Predict, Sample, at_times, noised, pair_of
from diffax.losses.weighting import Weighting
from diffax.processes.time_sampling import Stratified, TimeDensity
from diffax.typing import Denoiser, Keys, Numeric, Schedule


def second_time(
    keys: Keys, schedule: Schedule, time_density: TimeDensity, t: PerSample, share: float
) -> tuple[PerSample, PerSample]:
    """Two times (t, s), s <= t, (batch,) each: the larger and the smaller of t and another draw of the density.

    share: of samples that have two times; s = t for the others. MeanFlow (arXiv:2505.13447, section 4.3).
    """
    # Not stratified: both draws of a sample would be from the same stratum.
    density = time_density.density if isinstance(time_density, Stratified) else time_density
    other = density.sample(conditions.own_keys(keys, "second time"), schedule).astype(t.dtype)
    has_two = conditions.bernoulli(keys, "has two times", share)
    later = jnp.maximum(t, other)
    return later, jnp.where(has_two, jnp.minimum(t, other), later)


def noised_at_two_times(
    keys: Keys,
    schedule: Schedule,
    x_0: Sample,
    time_density: TimeDensity,
    share: float,
    *,
    eps: Sample | None = None,
    t: PerSample | None = None,
) -> tuple[Noised, PerSample]:
    """Data at the larger of two times, and the smaller one; arguments as for `noised` and `second_time`."""
    at = noised(keys, schedule, x_0, time_density, eps=eps, t=t)
    later, s = second_time(keys, schedule, time_density, at.t, share)
    return at_times(at, schedule, later), s


def mapped(
    schedule: Schedule,
    parameterization: processes.Parameterization,
    net_out: Sample,
    x_t: Sample,
    t: PerSample,
    s: PerSample,
) -> Sample:
    """The flow map of a raw output: x_s = alpha_s x_0 + sigma_s eps."""
    x_0, eps = parameterization.predict(schedule, net_out, x_t, t)[:2]
    return processes.diffuse(schedule, x_0, eps, s)


def velocity(schedule: Schedule, x_0: Sample, eps: Sample, t: PerSample) -> Sample:
    """dx_t/dt = alpha' x_0 + sigma' eps."""
    slopes = [jax.jvp(f, (t,), (jnp.ones_like(t),))[1] for f in (schedule.alpha, schedule.sigma)]
    return arrays.expand_to(slopes[0], x_0) * x_0 + arrays.expand_to(slopes[1], x_0) * eps


def velocity_of(schedule: Schedule, at: Noised, teacher: Denoiser | None) -> Sample:
    """The velocity at x_t: of the pair (x_0, eps) that x_t was made of, or of a teacher's prediction."""
    return velocity(schedule, *pair_of(at, teacher), at.t)


def own_velocity(
    predict: Predict,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    x_t: Sample,
    t: PerSample,
    **told: Any,
) -> Sample:
    """The network's own velocity at x_t, that of one time, without its gradient; told: as it is told more."""
    net_out = jax.lax.stop_gradient(predict(x_t, t, **told))
    x_0, eps = parameterization.predict(schedule, net_out, x_t, t)[:2]
    return velocity(schedule, x_0, eps, t)


def derivative_along(
    predict: Predict,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    at: Noised,
    s: PerSample,
    v: Sample,
    **told: Any,
) -> tuple[Sample, Sample]:
    """(dF/dt, raw output) of the network's flow map F(x_t, t, s), where x_t moves at the velocity v."""

    def to_s(x_t: Sample, t: PerSample) -> tuple[Sample, Sample]:
        net_out = predict(x_t, t, s, key=at.network_keys, **told)
        return mapped(schedule, parameterization, net_out, x_t, t, s), net_out

    _, derivative, net_out = jax.jvp(to_s, (at.x_t, at.t), (v, jnp.ones_like(at.t)), has_aux=True)
    return derivative, net_out


def in_raw_units(
    schedule: Schedule, parameterization: processes.Parameterization, error: Sample, t: PerSample
) -> Sample:
    """What to add to the raw output at x_t for its velocity to grow by `error`.

    For fixed x_t, alpha dx_0 + sigma deps = 0 and alpha' dx_0 + sigma' deps = error: dx_0 = -sigma error / W and
    deps = alpha error / W with W = alpha sigma' - alpha' sigma. The raw output's target is affine in (x_0, eps).
    """
    (alpha, alpha_slope), (sigma, sigma_slope) = (
        jax.jvp(f, (t,), (jnp.ones_like(t),)) for f in (schedule.alpha, schedule.sigma)
    )
    return _raw_change(schedule, parameterization, error, t, alpha * sigma_slope - alpha_slope * sigma)


def gap_in_raw_units(
    schedule: Schedule, parameterization: processes.Parameterization, gap: Sample, t: PerSample, m: PerSample
) -> Sample:
    """What to add to the raw output at x_t for x_m, m < t, of its flow map to move by -`gap`; 0 where m = t.

    With x_m = alpha_m x_0 + sigma_m eps and W = alpha_m sigma_t - alpha_t sigma_m it is dx_0 = -sigma_t gap / W and
    deps = alpha_t gap / W. in_raw_units is its limit m -> t of gap / (t - m) = error.
    """
    alpha_t, sigma_t, alpha_m, sigma_m = (f(time) for time in (t, m) for f in (schedule.alpha, schedule.sigma))
    determinant = alpha_m * sigma_t - alpha_t * sigma_m
    is_two = m < t
    gap = jnp.where(arrays.expand_to(is_two, gap), gap, 0)
    return _raw_change(schedule, parameterization, gap, t, jnp.where(is_two, determinant, 1))


def _raw_change(
    schedule: Schedule,
    parameterization: processes.Parameterization,
    error: Sample,
    t: PerSample,
    determinant: PerSample,
) -> Sample:
    """The change of the raw output for dx_0 = -sigma_t error / determinant and deps = alpha_t error / determinant."""
    alpha, sigma = schedule.alpha(t) / determinant, schedule.sigma(t) / determinant
    x_0, eps = -arrays.expand_to(sigma, error) * error, arrays.expand_to(alpha, error) * error
    zero = jnp.zeros_like(error)
    return parameterization.target(schedule, x_0, eps, t) - parameterization.target(schedule, zero, zero, t)


def corrected(
    net_out: Sample,
    error: Sample,
    at: Noised,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    weighting: Weighting,
    time_density: TimeDensity,
    adaptive: float = 0.0,
    constant: float = 1e-3,
) -> PerSample:
    """The loss |net_out - target|^2 with target = net_out + `error`, the error of the velocity, without its gradient.

    adaptive, constant: of `adaptively_weighted`.
    """
    change = in_raw_units(schedule, parameterization, error, at.t)
    return regressed(net_out, change, at, schedule, parameterization, weighting, time_density, adaptive, constant)


def regressed(
    net_out: Sample,
    change: Sample,
    at: Noised,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    weighting: Weighting,
    time_density: TimeDensity,
    adaptive: float = 0.0,
    constant: Numeric = 1e-3,
) -> PerSample:
    """The loss |net_out - target|^2 with target = net_out + `change`, in units of the raw output, without its gradient.

    adaptive, constant: of `adaptively_weighted`.
    """
    target = net_out + change.astype(net_out.dtype)
    difference = (net_out - jax.lax.stop_gradient(target)).astype(at.x_t.dtype)
    loss = weighted_square(difference, at.t, schedule, parameterization, weighting, time_density)
    return adaptively_weighted(loss, at.x_0[0].size, adaptive, constant)


def velocity_loss(
    error: Sample,
    t: PerSample,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    weighting: Weighting,
    time_density: TimeDensity,
) -> PerSample:
    """The squared error of a velocity at the time t in the units of the raw output, weighted as the denoising loss."""
    in_units = in_raw_units(schedule, parameterization, error, t)
    return weighted_square(in_units, t, schedule, parameterization, weighting, time_density)


def adaptively_weighted(loss: PerSample, size: int, power: float, constant: Numeric) -> PerSample:
    """The loss with the adaptive weight of each sample of MeanFlow (arXiv:2505.13447, eq. 22), without its gradient.

    The published loss is e / (e + c)^p with e the sum over the `size` dimensions of a sample. Losses here are means, so
    that this is it times size^(p - 1): the published loss for p = 1, and the mean square for p = 0.

    Args:
      power: p.
      constant: c.
    """
    return loss if power == 0 else loss * jax.lax.stop_gradient(loss + constant / size) ** -power
