"""Flow maps of denoisers, denoisers of flow maps, and exact flow maps: of Gaussian data, and of any ODE by integration.

With s and t between 0 and 1, x_s = flow_map(x_t, t, s) is where the trajectory of the probability-flow ODE through x_t
is at the time s. See typing.FlowMap and typing.TwoTimeDenoiser for the two forms.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays, processes
from diffax.denoisers.oracles import GaussianMixture
from diffax.processes import probability_flow
from diffax.typing import Denoiser, FlowMap, Numeric, Prediction, Schedule, TwoTimeDenoiser

Sample = Float[jax.Array, "batch *dims"]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _OfDenoiser:
    """The arguments of flow_map."""

    denoiser: Any
    schedule: Schedule
    has_two_times: bool = dataclasses.field(metadata={"static": True})

    def __call__(self, x_t: Sample, t: Numeric, s: Numeric) -> Sample:
        prediction = self.denoiser(x_t, t, s) if self.has_two_times else self.denoiser(x_t, t)
        x_0, eps = (half.astype(x_t.dtype) for half in prediction[:2])
        return processes.diffuse(self.schedule, x_0, eps, s)


def flow_map(denoiser: TwoTimeDenoiser, schedule: Schedule) -> FlowMap:
    """The flow map of a denoiser of two times: x_s = alpha_s x_0 + sigma_s eps with the prediction for (x_t, t, s)."""
    return _OfDenoiser(denoiser, schedule, has_two_times=True)


def first_order(denoiser: Denoiser, schedule: Schedule) -> FlowMap:
    """The flow map of a denoiser to first order in t - s: a step of DDIM (arXiv:2010.02502, eq. 12 with sigma = 0)."""
    return _OfDenoiser(denoiser, schedule, has_two_times=False)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _OfFlowMap:
    """The arguments of two_time_denoiser."""

    flow_map: FlowMap
    schedule: Schedule

    def __call__(self, x_t: Sample, t: Numeric, s: Numeric | None = None) -> Prediction:
        if s is None:
            raise ValueError("the denoiser of a flow map needs s, a time other than t")
        x_s = self.flow_map(x_t, t, s)
        pairs = [(self.schedule.alpha(time), self.schedule.sigma(time)) for time in (t, s)]
        (alpha_t, sigma_t), (alpha_s, sigma_s) = ([arrays.expand_to(value, x_t) for value in pair] for pair in pairs)
        determinant = alpha_t * sigma_s - alpha_s * sigma_t
        x_0 = (sigma_s * x_t - sigma_t * x_s) / determinant
        return Prediction(x_0, (alpha_t * x_s - alpha_s * x_t) / determinant)


def two_time_denoiser(flow_map: FlowMap, schedule: Schedule) -> TwoTimeDenoiser:
    """The denoiser of two times of a flow map: the (x_0, eps) of the line through x_t and x_s. It needs s != t."""
    return _OfFlowMap(flow_map, schedule)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _Gaussian:
    """The data of `gaussian`, a mixture of one component."""

    mixture: GaussianMixture

    def __call__(self, x_t: Sample, t: Numeric, s: Numeric) -> Sample:
        schedule, dtype = self.mixture.schedule, x_t.dtype
        mean, values, vectors = (
            jnp.asarray(leaf[0], dtype)
            for leaf in (self.mixture.means, self.mixture.eigenvalues, self.mixture.eigenvectors)
        )

        def moments(time: Numeric) -> tuple[jax.Array, jax.Array]:
            alpha, sigma = (
                jnp.broadcast_to(jnp.asarray(f(time), dtype), x_t.shape[:1])[:, None]
                for f in (schedule.alpha, schedule.sigma)
            )
            return alpha, jnp.sqrt(alpha**2 * values[None] + sigma**2)

        (alpha_t, std_t), (alpha_s, std_s) = moments(t), moments(s)
        along = jnp.einsum("ji,bj->bi", vectors, x_t - alpha_t * mean[None], precision=jax.lax.Precision.HIGHEST)
        moved = jnp.einsum("ij,bj->bi", vectors, along * std_s / std_t, precision=jax.lax.Precision.HIGHEST)
        return alpha_s * mean[None] + moved


def gaussian(mixture: GaussianMixture) -> FlowMap:
    """The exact flow map of Gaussian data N(m, C), for vectors x_t (batch, d).

    Along each eigenvector of C with eigenvalue c, (x_s - alpha_s m) / std_s = (x_t - alpha_t m) / std_t, with
    std^2 = alpha^2 c + sigma^2: the ODE is linear there, and its trajectories keep the quantile.

    Args:
      mixture: `gaussian_mixture` of one component.

    Raises:
      ValueError: more than one component.
    """
    if len(mixture.weights) != 1:
        raise ValueError(
            f"the flow map in closed form is of one Gaussian, got {len(mixture.weights)}: use `integrated`"
        )
    return _Gaussian(mixture)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _Integrated:
    """The arguments of integrated."""

    denoiser: Denoiser
    schedule: Schedule
    tolerance: Numeric
    max_steps: int = dataclasses.field(metadata={"static": True})

    def __call__(self, x_t: Sample, t: Numeric, s: Numeric) -> Sample:
        t, s = (jnp.broadcast_to(jnp.asarray(time, x_t.dtype), x_t.shape[:1]) for time in (t, s))
        start, end = (probability_flow.log_snr_of(self.schedule, time) for time in (t, s))

        # All samples at once, each from its own log-SNR to its own: by the fraction of the way.
        def slope(y: Sample, fraction: jax.Array) -> Sample:
            log_snr = start + (end - start) * fraction
            velocity = probability_flow.velocity(self.denoiser, self.schedule, y, log_snr)
            return arrays.expand_to(end - start, y) * velocity

        zero, one = jnp.zeros((), x_t.dtype), jnp.ones((), x_t.dtype)
        norm_t, norm_s = (arrays.expand_to(probability_flow.norm(self.schedule, time), x_t) for time in (t, s))
        limits = {"rtol": self.tolerance, "atol": self.tolerance, "max_steps": self.max_steps}
        return probability_flow.solve(slope, x_t / norm_t, zero, one, **limits).y * norm_s


def integrated(denoiser: Denoiser, schedule: Schedule, *, tolerance: Numeric = 1e-5, max_steps: int = 4096) -> FlowMap:
    """The flow map of a denoiser by solving its probability-flow ODE adaptively: the exact one of an exact denoiser.

    It costs dozens of evaluations. Not differentiable in reverse mode.

    Args:
      tolerance: relative and absolute, of processes.probability_flow.solve. float32 does not reach 1e-6.
    """
    return _Integrated(denoiser, schedule, tolerance, max_steps)
