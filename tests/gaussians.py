"""Images of classes that are Gaussian, with the network that knows them: inversion and edits have a closed form."""

import jax
import jax.numpy as jnp
import numpy as np

from diffax import data

SHAPE, NUM = (4, 4, 1), 3
_DRAWN = np.random.default_rng(0)
# Of each class, and 0 of images of no class; all classes have the same standard deviations.
MEANS = np.concatenate([_DRAWN.uniform(-0.3, 0.3, (NUM, *SHAPE)), np.zeros((1, *SHAPE))])
STDS = _DRAWN.uniform(0.05, 0.2, SHAPE)


def images(split):
    """A data source."""
    rng, labels = np.random.default_rng(len(split)), np.arange(30, dtype=np.int32) % NUM
    pixels = np.clip(np.rint(127.5 * (MEANS[labels] + STDS * rng.standard_normal((30, *SHAPE)) + 1)), 0, 255)
    names = ("ant", "bee", "cow")
    return data.dataset.Dataset(
        name=f"gaussians/{split}",
        examples=pixels.astype(np.uint8),
        labels=labels,
        num_classes=NUM,
        num_levels=256,
        class_names=names,
    )


class Network:
    """The exact v of the cosine schedule, or with flow=True the exact velocity of the flow schedule, of its log-SNR."""

    def __init__(self, flow: bool = False, conditions: dict | None = None):
        self.flow, self.conditions = flow, conditions or {}

    def init(self, key, sample_shape):
        return {"unused": jnp.zeros(2)}

    def __call__(self, params, x, time_input, condition=None, *, key=None):
        label = jnp.full(len(x), NUM) if condition is None else condition["label"]
        log_snr = time_input[:, None, None, None]
        if self.flow:
            alpha, sigma = jax.nn.sigmoid(log_snr / 2), jax.nn.sigmoid(-log_snr / 2)
        else:
            alpha, sigma = (jnp.sqrt(jax.nn.sigmoid(sign * log_snr)) for sign in (1, -1))
        mean, variance = jnp.asarray(MEANS, x.dtype)[label], jnp.asarray(STDS[None], x.dtype) ** 2
        shrunk = (x - alpha * mean) / (alpha**2 * variance + sigma**2)
        x_0, eps = mean + alpha * variance * shrunk, sigma * shrunk
        return eps - x_0 if self.flow else alpha * eps - sigma * x_0


def moved(x, source, target, ends):
    """The exact solution of the ODE from one time to another of a Gaussian, in float64.

    Args:
      source, target: mean of the images at the start; and unless None, of those that it is brought back to.
      ends: (alpha, sigma) at the start and at the end.
    """
    (alpha, sigma), (alpha_end, sigma_end) = ends
    growth = np.sqrt((alpha_end**2 * STDS**2 + sigma_end**2) / (alpha**2 * STDS**2 + sigma**2))
    latent = alpha_end * source + growth * (x - alpha * source)
    return latent, alpha * target + (latent - alpha_end * target) / growth
