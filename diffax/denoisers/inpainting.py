"""Inpainting by replacement: conditions a denoiser on known pixels."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays
from diffax.denoisers import moved
from diffax.typing import Array, Denoiser, Numeric, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _Inpainted:
    """The denoiser, the schedule, the known values and their mask of inpainted."""

    denoiser: Denoiser
    schedule: Schedule
    known: Array
    mask: Array

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        prediction = self.denoiser(x_t, t)
        known = moved.to_x_0(prediction, self.schedule, x_t, t, jnp.asarray(self.known, x_t.dtype))
        is_known = jnp.asarray(self.mask, bool)
        return prediction._replace(
            x_0=jnp.where(is_known, known.x_0, prediction.x_0), eps=jnp.where(is_known, known.eps, prediction.eps)
        )


def inpainted(denoiser: Denoiser, schedule: Schedule, known: Sample, mask: Array) -> Denoiser:
    """Inpainting by replacement: sets x_0 to `known` where mask is true, and eps so that alpha x_0 + sigma eps = x_t.

    With samplers.ddpm the known part of the state is a draw of q(x_t | known) at every row
    (arXiv:2011.13456, section 5 and appendix I.2), and the denoiser, which sees both parts, fills in the rest. With
    samplers.repaint this is RePaint. Neither samples the exact posterior, because at every time the denoiser sees only
    the noisy version of the known part. `pigdm` and `dps` with a masking measurement are closer to it. At sigma = 0 or
    after samplers.to_data the result contains the known part exactly.

    Args:
      known: (batch, *dims); its values where mask is false are not used, but must be finite.
      mask: bool, broadcasts to known's shape.
    """
    mask = jnp.broadcast_to(jnp.asarray(mask, bool), known.shape)
    return _Inpainted(denoiser, schedule, known, mask)
