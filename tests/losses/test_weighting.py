"""Weightings as the literature states them, for whichever error it states them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.losses import weighting

LOG_SNR = np.linspace(-12, 12, 49)
SNR = np.exp(LOG_SNR)
LOG_DENSITY = np.cos(LOG_SNR)


def weight(rule):
    """The weight of the squared error of eps."""
    return np.exp(np.asarray(rule(jnp.asarray(LOG_SNR, jnp.float32), jnp.asarray(LOG_DENSITY, jnp.float32)), float))


def assert_close(computed, expected):
    # The exponential of a float32 of size up to 60.
    np.testing.assert_allclose(computed, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (weighting.Uniform(), 1),  # DDPM, eq. 14
        (weighting.P2(), 1 / (1 + SNR)),  # arXiv:2204.00227, eq. 8, on DDPM's eps loss
        (weighting.P2(k=0.5, gamma=0.5), (0.5 + SNR) ** -0.5),
        (
            weighting.Sigmoid(),
            0.5 / (1 + SNR) / np.exp(LOG_DENSITY),
        ),  # arXiv:2303.00848, section 4
        (weighting.Sigmoid(bias=-3.0), 0.5 / (1 + SNR * np.exp(3)) / np.exp(LOG_DENSITY)),
        (weighting.Variational(), 0.5 / np.exp(LOG_DENSITY)),  # arXiv:2107.00630, eq. 17
    ],
)
def test_stated_for_eps(rule, expected):
    assert_close(weight(rule), expected)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (weighting.Snr(), SNR),  # arXiv:2202.00512, eq. 9
        (weighting.TruncatedSnr(), np.maximum(SNR, 1)),  # its eq. 10
        (weighting.Velocity(), SNR + 1),  # its "SNR+1"
        (weighting.MinSnr(), np.minimum(SNR, 5)),  # arXiv:2303.09556, section 3.4
        (weighting.MinSnr(gamma=2.0), np.minimum(SNR, 2)),
    ],
)
def test_stated_for_x_0(rule, expected):
    # |error of eps|^2 = SNR |error of x_0|^2.
    assert_close(weight(rule) * SNR, expected)


def test_min_snr_stated_for_eps_and_v():
    # arXiv:2303.09556: min(SNR, 5) / SNR for eps and min(SNR, 5) / (SNR + 1) for v, where x_0 = alpha x_t - sigma v.
    alpha = np.sqrt(SNR / (1 + SNR))
    assert_close(weight(weighting.MinSnr()), np.minimum(SNR, 5) / SNR)
    assert_close(weight(weighting.MinSnr()) * alpha**2, np.minimum(SNR, 5) / (SNR + 1))


def test_velocity_is_1_for_v():
    alpha = np.sqrt(SNR / (1 + SNR))
    assert_close(weight(weighting.Velocity()) * alpha**2, 1)


def test_flow_is_1_for_the_flow_velocity():
    # On the straight line alpha = 1 - t, sigma = t, an error of u moves eps by alpha = 1 / (1 + SNR^-1/2) times it.
    assert_close(weight(weighting.Flow()) / (1 + SNR**-0.5) ** 2, 1)


@pytest.mark.parametrize("sigma_data", [0.5, 1.3])
def test_edm_is_the_paper_s_lambda_for_the_denoiser(sigma_data):
    # arXiv:2206.00364, table 1, with alpha = 1: SNR = 1 / sigma^2.
    sigma = SNR**-0.5
    of_denoiser = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    assert_close(weight(weighting.Edm(sigma_data)) * SNR, of_denoiser)


def test_log_weights_are_finite_at_the_limits_and_so_are_their_derivatives():
    every = [
        weighting.Uniform(),
        weighting.TruncatedSnr(),
        weighting.MinSnr(),
        weighting.P2(),
        weighting.Edm(),
        weighting.Velocity(),
        weighting.Flow(),
        weighting.Variational(),
        weighting.Sigmoid(),
    ]
    ends = jnp.array([-80.0, 0.0, 80.0])

    @jax.jit
    def values_and_slopes(log_snr):
        return jax.jvp(lambda x: [rule(x, jnp.zeros(3)) for rule in every], (log_snr,), (jnp.ones(3),))

    assert np.isfinite(values_and_slopes(ends)).all()


def test_a_weighting_s_numbers_do_not_retrace():
    traces = []

    @jax.jit
    def log_weight(rule):
        traces.append(1)
        return rule(jnp.full(1, 2.0), jnp.zeros(1))

    expected = [0.0, np.log(5) - 2]
    np.testing.assert_allclose([log_weight(weighting.MinSnr(g))[0] for g in (10.0, 5.0)], expected, rtol=1e-6)
    assert len(traces) == 1
