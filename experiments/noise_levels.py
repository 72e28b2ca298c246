"""How well a trained model predicts data, by noise level: where it errs, and what its samples lack."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffax import processes, runs
from diffax.denoisers import time_inputs
from diffax.typing import Denoiser

# sigma / alpha, in which models of all noise schedules are compared.
NOISE = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def errors(
    trained: runs.Trained, x_0: np.ndarray, condition: Mapping[str, Any] | None = None, num_draws: int = 4
) -> dict[str, float]:
    """{sigma / alpha: E|x_0_hat - x_0|^2 per dimension}, without thresholding and guidance.

    Args:
      x_0: data in the network's range, (n, *sample_shape). condition: values of its conditions, n each.
      num_draws: of the noise of each example.
    """
    plain = trained.with_sampler(thresholding="none", guidance="none")
    if plain.model.time_input is time_inputs.index:  # which has no value between the steps
        model = dataclasses.replace(plain.model, time_input=time_inputs.fractional_index)
        plain = dataclasses.replace(plain, model=model)
    schedule, clean = plain.schedule, jnp.asarray(x_0, jnp.float32)

    @jax.jit
    def error(denoiser: Denoiser, log_snr: jax.Array, key: jax.Array) -> jax.Array:
        t = jnp.full(len(clean), schedule.t_of_log_snr(log_snr))
        eps = jax.random.normal(key, clean.shape)
        prediction = denoiser(processes.diffuse(schedule, clean, eps, t), t)
        return ((prediction.x_0 - clean) ** 2).mean()

    denoiser = plain.denoiser(condition=condition)
    keys, found = jax.random.split(jax.random.key(0), num_draws), dict[str, float]()
    for noise in NOISE:
        log_snr = jnp.float32(-2 * np.log(noise))
        found[f"{noise:g}"] = float(np.mean([error(denoiser, log_snr, key) for key in keys]))
    return found
