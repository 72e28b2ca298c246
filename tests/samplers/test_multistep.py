"""UniPC, multistep DPM-Solver++, SA-Solver, LMS, iPNDM and PNDM: orders, shared weights, ends, errors.

What each computes, step by step, is compared with diffusers in test_against_diffusers.py.
"""

import jax
import numpy as np
import pytest

from diffax import samplers, schedules
from tests.samplers.convergence import SCHEDULES, slopes

COSINE = schedules.Cosine()


def multistep(**options):
    return lambda schedule, times: samplers.dpm_solver_multistep(schedule, times, **options)


def unipc(**options):
    return lambda schedule, times: samplers.unipc(schedule, times, lower_order_final=False, **options)


def sa_ode(order):
    return lambda schedule, times: samplers.sa_solver(
        schedule, times, tau=0.0, predictor_order=order, corrector_order=order, lower_order_final=False
    )


# What is claimed: starting with orders 1, 2, ... caps the order at 2; UniPC's corrector adds 1.
CLAIMED = {
    "2M midpoint": (multistep(), 2),
    "2M exact": (multistep(weights="exact"), 2),
    "2M in eps": (multistep(predict="eps"), 2),
    "3M exact": (multistep(order=3), 2),
    "3M published": (multistep(order=3, weights="published"), 2),
    **{
        f"UniPC{order} {variant} {predict}": (unipc(order=order, variant=variant, predict=predict), min(order + 1, 3))
        for order in (1, 2, 3)
        for variant in ("bh1", "bh2")
        for predict in ("x_0", "eps")
    },
    "SA(2, 2) of the ODE": (sa_ode(2), 2),
    "SA(3, 3) of the ODE": (sa_ode(3), 2),
    **{
        f"LMS{order}": (lambda schedule, times, p=order: samplers.lms(schedule, times, order=p), min(order, 2))
        for order in (1, 2, 3, 4)
    },
    "iPNDM": (samplers.ipndm, 2),
    "PNDM": (samplers.pndm, 2),
    "EDM without churn": (samplers.edm, 2),
    "restart without restarts": (samplers.restart, 2),
}


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", CLAIMED)
def test_order(schedule, name):
    method, order = CLAIMED[name]
    assert np.all(slopes(schedule, lambda times: method(schedule, times), (160, 320, 640)) >= order - 0.2)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_published_third_order_falls_short(schedule):
    """Half of the curvature is missing: well below the exact weights' error at equal steps, both started alike."""
    steps = (20, 40, 80)
    published, exact = (
        slopes(
            schedule,
            lambda times, kind=kind: samplers.dpm_solver_multistep(
                schedule, times, order=3, weights=kind, lower_order_final=False
            ),
            steps,
        )
        for kind in ("published", "exact")
    )
    assert np.all(exact > published + 0.4)


def test_one_family_of_weights():
    """Names for the same numbers, up to the quadrature's rounding."""
    times = samplers.grids.log_snr(COSINE, 9, start=0.97, end=0.03)
    same = [
        (samplers.adams(COSINE, times, order=2), multistep(weights="exact", lower_order_final=False)(COSINE, times)),
        (samplers.adams(COSINE, times, order=3), multistep(order=3, lower_order_final=False)(COSINE, times)),
        (samplers.ddim(COSINE, times, eta=1.0), multistep(order=1, tau=1.0, lower_order_final=False)(COSINE, times)),
        (samplers.ddim(COSINE, times, eta=1.0), samplers.ddpm(COSINE, times)),
        (samplers.edm(COSINE, times), samplers.heun(COSINE, times)),
    ]
    mean, variance = [0.7, -0.3], [0.04, 0.8]
    for one, other in same:
        for first, second in zip(
            samplers.gaussian_law(one, COSINE, mean, variance),
            samplers.gaussian_law(other, COSINE, mean, variance),
            strict=True,
        ):
            np.testing.assert_allclose(first, second, rtol=1e-9)


def test_both_ends_are_finite():
    """From pure noise to pure data, where lambda is infinite."""
    times = samplers.grids.uniform(8)
    tables = [method(COSINE, times) for method, _ in CLAIMED.values()]
    tables += [
        samplers.sa_solver(COSINE, times),
        multistep(tau=1.0)(COSINE, times),
        samplers.euler_maruyama(COSINE, times),
    ]
    for table in tables:
        assert all(np.isfinite(column).all() for column in jax.tree.leaves(table)), table.name
        mean, variance = samplers.gaussian_law(table, COSINE, 0.3, 0.25)
        assert abs(mean[0] - 0.3) < 0.2 and 0.05 < variance[0] < 0.5, table.name


def test_lower_orders_at_the_end():
    """UniPC ends in DDIM's step; DPM-Solver++ does so below 15 steps by default."""
    times = samplers.grids.log_snr(COSINE, 6, start=0.97, end=0.03)
    table = samplers.unipc(COSINE, times)
    assert np.count_nonzero(table.q[-1]) == 1
    assert np.count_nonzero(multistep()(COSINE, times).b[-1]) == 1
    assert np.count_nonzero(multistep(lower_order_final=False)(COSINE, times).b[-1]) == 2
    long = samplers.grids.log_snr(COSINE, 15, start=0.97, end=0.03)
    assert np.count_nonzero(multistep()(COSINE, long).b[-1]) == 2


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (samplers.unipc, {"order": 4}, "order must be 1, 2 or 3, got 4"),
        (samplers.unipc, {"variant": "bh3"}, "variant must be 'bh1' or 'bh2', got 'bh3'"),
        (samplers.unipc, {"predict": "v"}, "predict must be"),
        (samplers.lms, {}, "order 4 needs at least 4 steps, got 3"),
        (samplers.ipndm, {"order": 5}, "order must be 1, 2, 3 or 4, got 5"),
        (
            samplers.dpm_solver_multistep,
            {"order": 3, "weights": "midpoint"},
            "weights must be 'midpoint' or 'exact' for",
        ),
        (samplers.dpm_solver_multistep, {"tau": -1.0}, "tau must be >= 0, got -1"),
        (
            samplers.dpm_solver_multistep,
            {"order": 3, "tau": 1.0, "weights": "published"},
            "the published SDE of order 3 diverges",
        ),
        (samplers.sa_solver, {"tau": [1.0, 1.0]}, "one for each of the 3 intervals"),
        (samplers.sa_solver, {"corrector_order": 7}, "order must be 0, 1, 2, 3 or 4, got 7"),
        (samplers.sa_solver, {"weights": "half"}, "weights must be 'exact' or 'published', got 'half'"),
    ],
)
def test_errors(method, options, message):
    with pytest.raises(ValueError, match=message):
        method(COSINE, samplers.grids.uniform(3), **options)
    with pytest.raises(ValueError, match="PNDM needs at least 2 steps, got 1"):
        samplers.pndm(COSINE, [0.9, 0.1])
