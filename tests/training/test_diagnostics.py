"""Loss and gradient by log-SNR where both have closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import losses, processes, schedules, training
from diffax.denoisers import time_inputs
from diffax.processes import time_sampling
from diffax.training import diagnostics

NUMBERS = training.Numbers(
    learning_rate=0.1,
    averagings=(training.ema.Constant(0.9),),
    schedule=schedules.Cosine(),
    parameterization=processes.V(),
    weighting=losses.weighting.Velocity(),
    time_density=time_sampling.Uniform(),
)


def test_loss_and_gradient_of_every_bin():
    """For x_0 = 0 and out = w x_t = w sigma eps, v is alpha eps: at w = 0 the loss is the mean of alpha^2 over the bin
    and its slope -2 times that of alpha sigma, with alpha^2 = sigmoid(log_snr) and sigma^2 = sigmoid(-log_snr).
    """
    loss = training.make_loss(
        lambda params, x, time_input, condition, *, key=None: params["w"] * x, time_input=time_inputs.scaled
    )
    state = training.init_state(0, lambda key: {"w": jnp.zeros((1, 1))}, training.adam(), NUMBERS)
    edges = diagnostics.bin_edges(NUMBERS, 5)
    np.testing.assert_allclose(edges, [-10, -6, -2, 2, 6, 10], rtol=1e-6)
    batch = {"x": jnp.zeros((512, 16))}
    loss_of_bin = jax.jit(diagnostics.make_loss_of_bin(loss))
    values = diagnostics.by_log_snr(loss_of_bin, state, batch, edges)
    assert len(values) == 10
    for centre in (-8, -4, 0, 4, 8):
        log_snr = np.linspace(centre - 2, centre + 2, 1001)
        alpha, sigma = (1 / np.sqrt(1 + np.exp(sign * log_snr)) for sign in (-1, 1))
        assert values[f"loss_log_snr_{centre}"] == pytest.approx(np.mean(alpha**2), rel=0.05)
        assert values[f"grad_norm_log_snr_{centre}"] == pytest.approx(2 * np.mean(alpha * sigma), rel=0.05)
    assert loss_of_bin._cache_size() == 1
    assert diagnostics.by_log_snr(loss_of_bin, state, batch, edges) == values


def test_bins_end_where_the_schedule_does():
    """sigma from 0.1 to 10: log-SNRs from -2 log 10 to 2 log 10."""
    schedule = schedules.VarianceExploding(sigma_min=0.1, sigma_max=10.0)
    edges = diagnostics.bin_edges(training.Numbers(**{**vars(NUMBERS), "schedule": schedule}), 2)
    np.testing.assert_allclose(edges, [-2 * np.log(10), 0, 2 * np.log(10)], atol=1e-6)
    assert len(diagnostics.bin_edges(NUMBERS, 0)) == 1  # no bins
