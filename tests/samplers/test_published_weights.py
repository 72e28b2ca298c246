"""Weights of UniPC and SA-Solver on a step between two levels of noise, from the formulas of their papers in NumPy."""

import numpy as np
import pytest

from diffax import samplers, schedules

TIMES = np.array([0.9, 0.7, 0.5, 0.3])
ALPHA, SIGMA = np.cos(np.pi / 2 * TIMES), np.sin(np.pi / 2 * TIMES)
LAMBDA = np.log(ALPHA / SIGMA)
# The second step, from TIMES[1] to TIMES[2] with a prediction at TIMES[0] before it.
H, RATIO = LAMBDA[2] - LAMBDA[1], (LAMBDA[0] - LAMBDA[1]) / (LAMBDA[2] - LAMBDA[1])


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("predict", ["x_0", "eps"])
def test_unipc_2(predict, variant):
    """UniP-2 and UniC-1 with a_1 = 1/2 and B(h) = h or e^h - 1 (arXiv:2302.04867, eq. 3, 8 and 9; algorithms 5 to 8).

    In eps: x_s = alpha_s / alpha_t x - sigma_s (e^h - 1) eps_0 - sigma_s B(h) D / (2 r), D = eps_1 - eps_0 of a
    prediction at lambda_t + r h. In x_0, h changes its sign and alpha and sigma change places.
    """
    table = samplers.unipc(schedules.Cosine(), TIMES, order=2, variant=variant, predict=predict)
    inner, outer, h = (SIGMA, ALPHA, -H) if predict == "x_0" else (ALPHA, SIGMA, H)
    b = h if variant == "bh1" else np.expm1(h)
    half = -outer[2] * b / 2
    predictor = [-outer[2] * np.expm1(h) - half / RATIO, half / RATIO]
    queries, anchors = (table.q, table.b) if predict == "x_0" else (table.r, table.e)
    np.testing.assert_allclose(queries[1, :2], predictor, rtol=1e-9)
    np.testing.assert_allclose(table.a[1], inner[2] / inner[1], rtol=1e-9)
    # The corrector of the first step, from TIMES[0] to TIMES[1], which row 1 carries on to TIMES[2].
    h = LAMBDA[1] - LAMBDA[0] if predict == "eps" else LAMBDA[0] - LAMBDA[1]
    half = -outer[1] * (h if variant == "bh1" else np.expm1(h)) / 2
    corrector = np.array([half, -outer[1] * np.expm1(h) - half])
    np.testing.assert_allclose(anchors[1, :2], inner[2] / inner[1] * corrector, rtol=1e-9)


@pytest.mark.parametrize("tau", [0.5, 1.0])
@pytest.mark.parametrize("weights", ["exact", "published"])
def test_sa_solver(tau, weights):
    """arXiv:2309.05019, proposition 4.2 and, published, the authors' modification of steps with two predictions.

    With k = 1 + tau^2: x_s = sigma_s / sigma_t e^(-tau^2 h) x + sum_i w_i x_0_i + sigma_s sqrt(1 - e^(-2 tau^2 h)) z;
    the w_i sum to alpha_s (1 - e^(-k h)), and the slope has the integral of k e^(k (u - h)) u over [0, h], which the
    authors' code replaces by k h^2 / 2.
    """
    options = {"predictor_order": 2, "corrector_order": 1, "tau": tau, "weights": weights}
    table = samplers.sa_solver(schedules.Cosine(), TIMES, **options)
    k = 1 + tau**2
    whole = ALPHA[2] * -np.expm1(-k * H)
    integral = k * H**2 / 2 if weights == "published" else (k * H + np.expm1(-k * H)) / k
    slope = ALPHA[2] * integral / (LAMBDA[1] - LAMBDA[0])
    np.testing.assert_allclose(table.q[1, :2], [whole + slope, -slope], rtol=1e-9)
    np.testing.assert_allclose(table.a[1], SIGMA[2] / SIGMA[1] * np.exp(-(tau**2) * H), rtol=1e-9)
    np.testing.assert_allclose(table.c[1], SIGMA[2] * np.sqrt(-np.expm1(-2 * tau**2 * H)), rtol=1e-9)
    # In eps (eq. 5): the weight of a single prediction and the noise.
    table = samplers.sa_solver(schedules.Cosine(), TIMES, predictor_order=1, corrector_order=0, tau=tau, predict="eps")
    np.testing.assert_allclose(table.r[1, 0], -SIGMA[2] * k * np.expm1(H), rtol=1e-9)
    np.testing.assert_allclose(table.c[1], tau * SIGMA[2] * np.sqrt(np.expm1(2 * H)), rtol=1e-9)


def test_tau_may_differ_between_steps():
    table = samplers.sa_solver(schedules.Cosine(), TIMES, predictor_order=1, corrector_order=0, tau=[0.0, 0.5, 1.0])
    h = np.diff(LAMBDA)
    noise = SIGMA[1:] * np.sqrt(-np.expm1(-2 * np.array([0, 0.25, 1]) * h))
    np.testing.assert_allclose(table.c, noise, rtol=1e-9, atol=1e-15)
