"""Thresholding: predictions of x_0 kept to the range that data have."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays
from diffax.denoisers import moved
from diffax.typing import Denoiser, Node, Numeric, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Thresholded:
    """See thresholded."""

    denoiser: Node[Denoiser]
    schedule: Node[Schedule]
    limit: Node[Numeric]
    percentile: Node[Numeric | None]

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        prediction = self.denoiser(x_t, t)
        limit = jnp.asarray(self.limit, x_t.dtype)
        bound = limit
        if self.percentile is not None:
            sizes = jnp.abs(prediction.x_0).reshape(x_t.shape[0], -1)
            bound = arrays.expand_to(jnp.maximum(jnp.percentile(sizes, self.percentile, axis=1), limit), x_t)
        x_0 = jnp.clip(prediction.x_0, -bound, bound) * (limit / bound)
        return moved.to_x_0(prediction, self.schedule, x_t, t, x_0)


def thresholded(
    denoiser: Denoiser, schedule: Schedule, *, limit: Numeric = 1.0, percentile: Numeric | None = None
) -> Thresholded:
    """x_0 clipped to [-limit, limit], and the eps that makes x_t with it.

    With a percentile, 99.5 for one, the bound is that percentile of each sample's |x_0| where it is above the limit,
    and x_0 is scaled back to the limit: dynamic thresholding (Imagen, arXiv:2205.11487, section 2.3), against the
    saturation that strong guidance brings. DDPM clips at 1 (arXiv:2006.11239, its code).
    """
    return Thresholded(denoiser, schedule, limit, percentile)
