"""Every metric names what is wrong with its features in one line."""

import functools

import numpy as np
import pytest

from diffax.evaluation import density_coverage, energy, kernel, precision_recall, sliced_wasserstein

METRICS = {
    "kernel": functools.partial(kernel.distance, seed=0, subset_size=5),
    "squared_mmd": kernel.squared_mmd,
    "precision_recall": precision_recall.precision_recall,
    "density_coverage": density_coverage.density_coverage,
    "energy": energy.distance,
    "sliced_wasserstein": sliced_wasserstein.distance,
}


@pytest.mark.parametrize("name", METRICS)
def test_features_that_no_metric_takes(unchecked, name):
    metric, x = METRICS[name], np.random.default_rng(0).standard_normal((10, 3))
    for bad in (np.nan, np.inf):
        broken = x.copy()
        broken[[4, 8], 2] = bad
        for sets, what in (((broken, x), "generated"), ((x, broken), "reference")):
            with pytest.raises(ValueError, match=rf"^{what} features of 2 of 10 samples .*: the first is number 4$"):
                metric(*sets)
    for bad in (x[0], x[None], x[:0], x[:, :0], x.astype(complex), x.astype(str)):
        for sets, what in (((bad, x), "generated"), ((x, bad), "reference")):
            with pytest.raises(ValueError, match=rf"^{what} features must be numbers of shape \(n >= .*, got [^\n]*$"):
                metric(*sets)
    with pytest.raises(ValueError, match=r"^both sets must have features of one dimension, got 3 generated and 2 ref"):
        metric(x, x[:, :2])


@pytest.mark.parametrize("name", METRICS)
def test_constant_features_are_named(name):
    x = np.random.default_rng(0).standard_normal((10, 3))
    with pytest.warns(UserWarning, match="all 10 reference samples have the same features"):
        METRICS[name](x, np.full((10, 3), 0.1))
