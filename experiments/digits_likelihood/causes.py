"""Why models sample as they do: the error of x_0 by noise level, and samples that are mirrored digits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from diffax import data, processes, runs
from diffax.denoisers import time_inputs
from diffax.typing import Denoiser
from experiments import common

# sigma / alpha, in which models of all noise schedules are compared.
NOISE = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
NUM_DRAWS = 4


def errors(trained: runs.Trained) -> dict[str, float]:
    """{sigma / alpha: E|x_0_hat - x_0|^2 per dimension} of all held-out digits, without thresholding."""
    plain = trained.with_sampler(thresholding="none")
    if plain.model.time_input is time_inputs.index:  # which has no value between the steps
        model = dataclasses.replace(plain.model, time_input=time_inputs.fractional_index)
        plain = dataclasses.replace(plain, model=model)
    held_out, schedule = data.digits.load("test"), plain.schedule
    x_0 = jnp.asarray(held_out.to_network_range(held_out.examples), jnp.float32)

    @jax.jit
    def error(denoiser: Denoiser, log_snr: jax.Array, key: jax.Array) -> jax.Array:
        t = jnp.full(len(x_0), schedule.t_of_log_snr(log_snr))
        eps = jax.random.normal(key, x_0.shape)
        prediction = denoiser(processes.diffuse(schedule, x_0, eps, t), t)
        return ((prediction.x_0 - x_0) ** 2).mean()

    keys, found = jax.random.split(jax.random.key(0), NUM_DRAWS), dict[str, float]()
    for noise in NOISE:
        log_snr = jnp.float32(-2 * np.log(noise))
        found[f"{noise:g}"] = float(np.mean([error(plain.denoiser(), log_snr, key) for key in keys]))
    return found


def mirrored(trained: runs.Trained) -> dict[str, float]:
    """The share of 2,000 samples nearer to a mirrored digit than to any digit; and that of digits, themselves left out.

    A model whose augmentation leaks draws mirrored digits.
    """
    digits = common.real_digits()
    others = digits.reshape(-1, 8, 8)[:, :, ::-1].reshape(len(digits), -1)
    samples = trained.draw(2000, batch_size=500).reshape(2000, -1).astype(np.float64)
    of_digits = _squared_distances(digits, digits)
    np.fill_diagonal(of_digits, np.inf)
    return {
        "samples": float((_nearest(samples, others) < _nearest(samples, digits)).mean()),
        "digits": float((_nearest(digits, others) < of_digits.min(1)).mean()),
    }


def _nearest(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _squared_distances(x, y).min(1)


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x**2).sum(1)[:, None] - 2 * x @ y.T + (y**2).sum(1)
