"""config.likelihood: dequantization, divergence and the chain of the bound, by their effect in numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import build, build_likelihood, schedules
from diffax.denoisers import time_inputs
from diffax.likelihood.dequantization import Bins
from tests.settings.changed import assert_complete, changed, chosen

KEYS = jax.random.split(jax.random.key(0), 3)
X, BINS = jnp.zeros((3, 2)), Bins.of_levels(17)
# Name, options, the time at which the density is taken on the flow schedule, where sigma / alpha = t / (1 - t).
DEQUANTIZATIONS = [
    ("uniform", {}, 1e-5),
    ("truncated_normal", {}, 1 / 49),
    ("truncated_normal", {"tau": 2.0}, 1 / 33),
    ("variational", {"tau": 1.0}, 1 / 17),
]
DIVERGENCES = [("rademacher", {}, 1), ("rademacher", {"num_probes": 4}, 4), ("gaussian", {"num_probes": 3}, 3)]


@pytest.mark.parametrize(("name", "options", "t"), DEQUANTIZATIONS)
def test_dequantization(name, options, t):
    dequantize = build_likelihood.dequantize(chosen("likelihood.dequantization", name, options))
    assert float(dequantize(KEYS, schedules.Flow(), X, BINS).t) == pytest.approx(t, rel=1e-4)


@pytest.mark.parametrize(("name", "options", "num"), DIVERGENCES)
def test_divergence(name, options, num):
    probes = build_likelihood.draw_probes(chosen("likelihood.divergence", name, options))(KEYS, X)
    assert probes.shape == (num, 3, 2)
    assert (np.abs(probes) == 1).all() == (name == "rademacher")
    exact = build_likelihood.draw_probes(chosen("likelihood.divergence", "exact", {}))
    assert exact(KEYS, X) is None


def test_every_name_and_option_is_here():
    assert_complete("likelihood.dequantization", [case[:2] for case in DEQUANTIZATIONS])
    assert_complete("likelihood.divergence", [*(case[:2] for case in DIVERGENCES), ("exact", {})])


def test_the_chain_of_the_bound_has_all_steps_of_a_discrete_schedule_or_so_many():
    def times(schedule, **options):
        config = changed({"schedule": schedule} | {f"likelihood.{key}": value for key, value in options.items()})
        return build_likelihood.bound_times(config, build.schedule(config))

    np.testing.assert_allclose(times("discrete_linear"), np.arange(1000, 0, -1) / 1000)
    np.testing.assert_allclose(times("discrete_linear", num_steps=3), [1, 0.667, 0.334])
    np.testing.assert_allclose(times("cosine"), np.arange(1000, 0, -1) / 1000)
    np.testing.assert_allclose(times("cosine", num_steps=4), [1, 0.75, 0.5, 0.25])
    with pytest.raises(ValueError, match="num_steps must be >= 1 and <= 1000, got 1001"):
        times("discrete_linear", num_steps=1001)


def test_the_continuous_bound_runs_from_the_bins_to_almost_pure_noise():
    """sigma / alpha is a sixth of a bin's width at its first time, and exp(6) at its last or that of t = 1."""
    flow = build_likelihood.continuous_times(schedules.Flow(), BINS)
    np.testing.assert_allclose(flow, [1 / 49, 1 / (1 + np.exp(-6))], rtol=1e-4)
    exploding = build_likelihood.continuous_times(schedules.VarianceExploding(0.05, 50.0), BINS)
    np.testing.assert_allclose(exploding, [0, 1])
    config = changed({"schedule": "discrete_linear"})
    with pytest.raises(ValueError, match=r"trained at all times, and this one was at 1,000 steps .*--ways=bound"):
        build_likelihood.check_continuous(config, build.schedule(config))


def test_the_index_of_an_ode_is_not_rounded():
    schedule, t = schedules.Discrete.linear(100), np.array([0.0, 0.01, 0.125, 1.0])
    np.testing.assert_allclose(time_inputs.fractional_index(schedule, t), [0, 0, 11.5, 99], atol=1e-4)
    assert (np.diff(time_inputs.fractional_index(schedule, np.linspace(0.02, 1, 200))) > 0).all()
    with pytest.raises(ValueError, match="needs a Discrete schedule, got Flow"):
        time_inputs.fractional_index(schedules.Flow(), t)
