"""The part of a report that shows noise levels: the schedule, the loss weighting and where training looks."""

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from diffax import build
from diffax.reporting.charts import Series, chart
from diffax.reporting.page import Figure, Figures, Section

# Beyond these log-SNRs there is hardly any noise, or hardly any signal.
_LIMIT = 12.0
_NUM_TIMES = 201


def section(config: ConfigDict) -> Section:
    """alpha and sigma, log-SNR over time, and over log-SNR the loss weight and the density of training times."""
    schedule = build.schedule(config)
    t = np.linspace(0, 1, _NUM_TIMES + 2)[1:-1]
    alpha, sigma, log_snr = (np.asarray(of(t), np.float64) for of in (schedule.alpha, schedule.sigma, schedule.log_snr))
    inside = np.abs(log_snr) <= _LIMIT
    times, levels = jnp.asarray(t[inside], jnp.float32), jnp.asarray(log_snr[inside], jnp.float32)
    log_density = build.time_density(config).log_density(schedule, times)
    log_weight = np.asarray(build.weighting(config)(levels, log_density), np.float64)
    density = np.exp(np.asarray(log_density, np.float64))
    weight = np.exp(log_weight)
    shown = Series(config.loss.weighting.name, log_snr[inside], weight)
    log = "y" if len(weight) and weight.max() > 20 * weight.min() > 0 else ""
    drawn = config.loss.time_density.name
    figures = [
        Figure(
            chart([Series("alpha", t, alpha), Series("sigma", t, sigma)], xlabel="time t", ylabel="coefficient"),
            f"Noise schedule {config.schedule.name}: x_t = alpha x_0 + sigma eps.",
        ),
        Figure(
            chart([Series("log-SNR", t, log_snr)], xlabel="time t", ylabel="log-SNR"),
            "log-SNR = 2 log(alpha / sigma): data above, noise below.",
        ),
        Figure(
            chart([shown], xlabel="log-SNR", ylabel="weight of the eps error", log=log),
            f"Loss weighting {config.loss.weighting.name}, stated for the squared error of eps.",
        ),
        Figure(
            chart([Series(drawn, log_snr[inside], density)], xlabel="log-SNR", ylabel="density of training times"),
            f"Training times {drawn}, as a density per unit of log-SNR.",
        ),
    ]
    return Section("Noise schedule and loss weight", [Figures(figures)])
