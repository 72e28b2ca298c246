"""Standard errors against SciPy, and against the spread that repeats of the whole experiment have."""

import numpy as np
import pytest
from scipy import stats

from diffax.evaluation import uncertainty


def test_repeats():
    values = [1.0, 4.0, 2.5, 2.0]
    assert uncertainty.of_repeats(values) == (pytest.approx(2.375), pytest.approx(stats.sem(values)))
    for bad, message in (([1.0], "at least 2 repeats"), ([1.0, np.nan], "must be finite")):
        with pytest.raises(ValueError, match=message):
            uncertainty.of_repeats(bad)


def mean_difference(generated, reference):
    return float(np.mean(generated) - np.mean(reference))


def test_the_bootstrap_of_a_mean_is_its_standard_error():
    x, reference = np.random.default_rng(0).exponential(size=(500, 1)), np.full((10, 1), 3.0)
    found = uncertainty.bootstrap(mean_difference, x, reference, seed=0, num_resamples=400)
    assert found.value == x.mean() - 3
    assert found.standard_error == pytest.approx(stats.sem(x[:, 0]), rel=0.1)
    again = uncertainty.bootstrap(mean_difference, x, reference, seed=0, num_resamples=400)
    assert found == again != uncertainty.bootstrap(mean_difference, x, reference, seed=1, num_resamples=400)


def test_too_little_to_resample_is_refused():
    x = np.ones((5, 1))
    with pytest.raises(ValueError, match="num_resamples must be >= 2, got 1"):
        uncertainty.bootstrap(mean_difference, x, x, seed=0, num_resamples=1)
    with pytest.raises(ValueError, match=r"generated features must be numbers of shape \(n >= 2, dim >= 1\)"):
        uncertainty.bootstrap(mean_difference, x[:1], x, seed=0)
