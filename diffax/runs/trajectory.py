"""The denoising trajectory of a trained model: states of the sampler on the way from noise to samples."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Float

from diffax import arrays, processes, samplers, sharding
from diffax.runs import asked, trained
from diffax.runs.trained import Trained


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """States of a sampler, the initial noise first and the samples last.

    num_evaluations: denoiser calls before each state. log_snr: of each state but the last, which is data.
    """

    states: Float[np.ndarray, "saved batch *dims"]
    num_evaluations: tuple[int, ...]
    log_snr: tuple[float, ...]


def draw(model: Trained, num_samples: int, *, seed: int = 0, num_states: int = 8) -> Trajectory:
    """Draws samples by config.sampler and returns about num_states states of each on the way.

    A state x_t is divided by sqrt(alpha_t^2 + sigma_t^2), so that noise has the scale of data under every schedule.
    Sample i is that of `Trained.draw` for the same seed. Of several processes all have to call it.
    """
    mesh, table, rows = model.mesh, model.model.sampler_table(), model.model.sampler_table().num_evaluations
    save_every = -(-rows // max(num_states - 1, 1))
    size = -(-num_samples // mesh.size) * mesh.size
    wanted = asked.of_labels(model.model, model.model.labels(size))
    index = np.arange(size, dtype=np.int32)
    values = None if wanted is None else wanted.values
    index, values = sharding.from_copies(sharding.batch_sharding(mesh), (index, values))
    denoiser = model.denoiser(condition=values)
    keys = trained.sample_keys(seed, index)
    noise, everywhere = model.model.noise, sharding.replicated(mesh)
    states = _draw(table, denoiser, noise, keys, model.sample_shape, save_every, everywhere)
    calls = (0, *(min(row, rows) for row in range(save_every, rows + save_every, save_every)))
    t = np.asarray(table.times, np.float64)[list(calls[:-1])]
    states = scaled(model, t, sharding.to_host(states)[:, :num_samples])
    return Trajectory(states, calls, tuple(float(value) for value in np.asarray(model.schedule.log_snr(t))))


def scaled(model: Trained, t: np.ndarray, states: np.ndarray) -> np.ndarray:
    """States (saved, batch, *dims) over sqrt(alpha^2 + sigma^2) at their times t; the last one, data, as it is."""
    scale = np.append(np.hypot(model.schedule.alpha(t), model.schedule.sigma(t)), 1.0)
    return states / scale.astype(np.float32).reshape(-1, *(1,) * (states.ndim - 1))


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def _draw(
    table: Any,
    denoiser: Any,
    noise: processes.Noise,
    keys: jax.Array,
    shape: tuple[int, ...],
    save_every: int,
    everywhere: NamedSharding,
) -> jax.Array:
    """The initial noise and the saved states, (1 + saved, batch, *shape)."""
    prior_keys, noise_keys = arrays.split_keys(keys, 2)
    x = samplers.prior(prior_keys, table, shape, noise=noise)
    _, saved = samplers.run(noise_keys, denoiser, table, x, save_every=save_every)
    return jax.lax.with_sharding_constraint(jnp.concatenate([x[None], saved]), everywhere)
