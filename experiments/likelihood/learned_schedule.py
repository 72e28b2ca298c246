"""A learned noise schedule against linear log-SNR: the variance of the continuous-time bound's estimator, and its mean.

With the exact denoiser, for the mixture and for the 1,797 digits, all log-SNRs from 10 to -6. Under a schedule with the
density p of log-SNR the estimate from one draw of the time has the mean int m_1 / 2 and the variance int m_2 / (4 p) -
mean^2, with the moments m_1 and m_2 of |eps - eps_hat|^2: least where p is proportional to sqrt(m_2).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffax import denoisers, losses, processes, schedules, training
from diffax.likelihood import continuous_bound
from diffax.losses import weighting
from diffax.processes import time_sampling
from experiments import common
from experiments.likelihood import mixture

START, END = 10.0, -6.0
BATCH, STEPS, NUM_ESTIMATES = 256, 300, 20_000
# sigma / alpha = exp(-log_snr / 2) between the same ends, linear in t.
LINEAR = schedules.VarianceExploding(float(np.exp(-START / 2)), float(np.exp(-END / 2)))
TIMES = np.linspace(0, 1, 41)
Draw = Callable[[jax.Array, int], jax.Array]


def compare() -> dict[str, Any]:
    """For mixture and digits: log-SNR over time, mean, variance and least variance of the estimate, per dimension."""
    digits = jnp.asarray(common.real_digits(), jnp.float32)
    exact_mixture = mixture.oracle(schedules.Cosine())

    def draw_points(key: jax.Array, num: int) -> jax.Array:
        return exact_mixture.sample(jax.random.split(key, num), 0.0)

    def draw_digits(key: jax.Array, num: int) -> jax.Array:
        return digits[jax.random.randint(key, (num,), 0, len(digits))]

    return {
        "mixture": _compared("mixture", mixture.oracle, draw_points),
        "digits": _compared("digits", lambda schedule: denoisers.empirical(schedule, digits), draw_digits),
    }


def _compared(name: str, denoiser_of: Callable[[Any], Any], draw: Draw) -> dict[str, Any]:
    learned = learn(denoiser_of, draw)
    found: dict[str, Any] = {"t": TIMES.tolist(), "least": _least(denoiser_of, draw)}
    for kind, schedule in (("linear", LINEAR), ("learned", learned)):
        values = np.concatenate([_estimates(denoiser_of, schedule, draw, seed) for seed in range(NUM_ESTIMATES // 500)])
        log_snr = np.asarray(schedule.log_snr(jnp.asarray(TIMES, jnp.float32)), float)
        found[kind] = mixture.mean_and_error(values) | {
            "variance": float(values.var(ddof=1)),
            "variance_error": float(np.square(values - values.mean()).std(ddof=1) / len(values) ** 0.5),
            "log_snr": log_snr.tolist(),
        }
    found["factor"] = found["linear"]["variance"] / found["learned"]["variance"]
    found["factor_error"] = found["factor"] * float(
        np.hypot(*(found[kind]["variance_error"] / found[kind]["variance"] for kind in ("linear", "learned")))
    )
    shown = {key: value for key, value in found.items() if key != "t"}
    print(name, {key: {**value, "log_snr": ...} if isinstance(value, dict) else value for key, value in shown.items()})
    return found


def learn(denoiser_of: Callable[[Any], Any], draw: Draw) -> schedules.Learned:
    """A schedule trained as `launch.py` trains one, but with the exact denoiser in place of a network."""

    def loss(params: Any, hyperparameters: Any, batch: Any, keys: jax.Array, t: Any = None, /) -> jax.Array:
        schedule = hyperparameters.schedule
        return losses.denoising(
            keys,
            lambda x_t, t, *, key: denoiser_of(schedule)(x_t, t).eps,
            schedule,
            hyperparameters.parameterization,
            batch["x"],
            weighting=hyperparameters.weighting,
            time_density=hyperparameters.time_density,
            t=t,
        )

    hyperparameters = training.Hyperparameters(
        learning_rate=0.0,
        averagings=(training.ema.Constant(0.9),),
        schedule=schedules.Learned.initial(START, END, num_features=32, learning_rate=0.1),
        parameterization=processes.Eps(),
        weighting=weighting.Variational(),
        time_density=time_sampling.Uniform(),
    )
    state = training.init_state(0, lambda key: {"unused": jnp.zeros((1, 1))}, training.adam(), hyperparameters)
    step = jax.jit(training.make_train_step(loss, training.adam(), lambda step: jnp.exp(-3 * step / STEPS)))
    for index in range(STEPS):
        state, _ = step(state, {"x": draw(jax.random.fold_in(jax.random.key(9), index), BATCH)})
    return training.learned.applied(state.hyperparameters, state.learned).schedule


def _estimates(denoiser_of: Callable[[Any], Any], schedule: Any, draw: Draw, seed: int) -> np.ndarray:
    """500 estimates of the diffusion term from one draw of the time each, in nats per dimension."""

    @jax.jit
    def estimate(schedule: Any, keys: jax.Array, x: jax.Array) -> jax.Array:
        return continuous_bound.terms(keys, denoiser_of(schedule), schedule, x, times=(0.0, 1.0)).diffusion

    x = draw(jax.random.fold_in(jax.random.key(1), seed), 500)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(2), seed), 500)
    return np.asarray(estimate(schedule, keys, x), float) / x[0].size


def _least(denoiser_of: Callable[[Any], Any], draw: Draw) -> float:
    """The least variance that a schedule can have, from the moments of |eps - eps_hat|^2 at 41 log-SNRs."""
    exact, num = denoiser_of(LINEAR), 2000

    @jax.jit
    def moments(t: jax.Array, key: jax.Array) -> jax.Array:
        x = draw(key, num)
        eps = jax.random.normal(jax.random.fold_in(key, 1), x.shape)
        error = exact(processes.diffuse(LINEAR, x, eps, t), t).eps - eps
        squared = (error**2).sum(tuple(range(1, x.ndim)))
        return jnp.stack([squared.mean(), (squared**2).mean()])

    keys = jax.random.split(jax.random.key(3), len(TIMES))
    pairs = zip(np.float32(TIMES), keys, strict=True)
    first, second = np.stack([np.asarray(moments(t, key), float) for t, key in pairs], axis=1)
    dims, log_snr = draw(keys[0], 2)[0].size, np.linspace(END, START, len(TIMES))
    return float((np.trapezoid(second**0.5, log_snr) ** 2 - np.trapezoid(first, log_snr) ** 2) / 4 / dims**2)
