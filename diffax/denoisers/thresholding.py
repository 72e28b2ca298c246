"""Static and dynamic thresholding of the predicted x_0."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays
from diffax.denoisers import moved
from diffax.typing import Denoiser, Numeric, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _Thresholded:
    """The denoiser, the schedule and the options of thresholded."""

    denoiser: Denoiser
    schedule: Schedule
    limit: Numeric
    percentile: Numeric | None

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
) -> Denoiser:
    """Thresholding: clips x_0 to the range of the data, and adapts eps so that alpha x_0 + sigma eps = x_t.

    Static thresholding clips x_0 to [-limit, limit], as the code of DDPM does (arXiv:2006.11239). Dynamic thresholding
    (Imagen, arXiv:2205.11487, section 2.3) clips at a percentile of each sample's |x_0| where it is above the limit,
    and then scales x_0 back to [-limit, limit]; it reduces the saturation of large guidance scales.

    Args:
      limit: the largest |x_0| of the data.
      percentile: for dynamic thresholding, such as 99.5; None for static thresholding.
    """
    return _Thresholded(denoiser, schedule, limit, percentile)
