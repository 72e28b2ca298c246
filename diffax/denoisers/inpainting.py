"""Known pixels: a denoiser that is told part of the answer."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays
from diffax.denoisers import moved
from diffax.typing import Array, Denoiser, Node, Numeric, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Inpainted:
    """See inpainted."""

    denoiser: Node[Denoiser]
    schedule: Node[Schedule]
    known: Node[Array]
    mask: Node[Array]

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        guess = self.denoiser(x_t, t)
        told = moved.to_x_0(guess, self.schedule, x_t, t, jnp.asarray(self.known, x_t.dtype))
        is_known = jnp.asarray(self.mask, bool)
        return guess._replace(
            x_0=jnp.where(is_known, told.x_0, guess.x_0), eps=jnp.where(is_known, told.eps, guess.eps)
        )


def inpainted(denoiser: Denoiser, schedule: Schedule, known: Sample, mask: Array) -> Inpainted:
    """The denoiser whose x_0 is `known` where mask is true, its eps what then makes x_t.

    Under ddpm the known part of the state is then a draw of q(x_t | known) at every row, which is inpainting by
    replacement (arXiv:2011.13456, section 5 and appendix I.2); the rest follows the denoiser, which sees both. With
    samplers.repaint it is RePaint. Neither samples the posterior: the known part tells at every time only its noisy
    self. `pigdm` and `dps` of a masking measurement come closer. With to_zero or at sigma = 0 the result has the known
    part exactly.

    Args:
      known: (batch, *dims); what it holds where mask is false is not looked at, but must be finite.
      mask: bool, of known's shape.
    """
    mask = jnp.broadcast_to(jnp.asarray(mask, bool), known.shape)
    return Inpainted(denoiser, schedule, known, mask)
