"""Memorisation: copies, held-out data, and the share that is known in one dimension."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from diffax.evaluation import _checks, memorisation


def test_a_copied_training_set_is_memorised_also_where_it_has_duplicates():
    x = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)
    x[30:40] = x[20:30]
    assert memorisation.shares(x.copy(), x, held_out=x + 1000) == (1, 0)
    near = x + 1e-3
    near[20:40] = 50.0  # beside a duplicate only the copy itself counts
    assert memorisation.shares(near, x, held_out=x[::-1]) == (40 / 60, 1)


def test_data_of_the_same_distribution_in_one_dimension_is_three_quarters():
    """A point between two neighbours is nearer to each of them than the next one with probability 1 / 2."""
    rng = np.random.default_rng(0)
    found = memorisation.shares(
        rng.uniform(size=(4000, 1)), rng.uniform(size=(2500, 1)), held_out=rng.uniform(size=(4000, 1))
    )
    assert found.generated == pytest.approx(0.75, abs=0.03) and found.held_out == pytest.approx(0.75, abs=0.03)


def test_brute_force(monkeypatch):
    monkeypatch.setattr(_checks, "ROWS", 11)
    rng = np.random.default_rng(0)
    generated, training, held_out = (rng.standard_normal((n, 3)) for n in (40, 50, 30))
    distances = cdist(training, training)
    np.fill_diagonal(distances, np.inf)
    found = memorisation.shares(generated, training, held_out=held_out)
    for samples, share in ((generated, found.generated), (held_out, found.held_out)):
        assert 0 < share < 1
        assert share == np.mean([any(row < distances.min(axis=1)) for row in cdist(samples, training)])


def test_as_near_as_the_neighbour_is_not_nearer():
    training = np.arange(10.0)[:, None]
    assert memorisation.shares(np.array([[-1.0], [10.0]]), training, held_out=np.array([[-0.9]])) == (0, 1)


def test_sets_that_do_not_fit_are_refused(unchecked):
    x = np.random.default_rng(0).standard_normal((10, 3))
    with pytest.raises(ValueError, match=r"training features must be numbers of shape \(n >= 2, dim >= 1\)"):
        memorisation.shares(x, x[:1], held_out=x)
    with pytest.raises(ValueError, match=r"one dimension, got 2 .* and 3"):
        memorisation.shares(x, x, held_out=x[:, :2])
    with pytest.raises(ValueError, match="held-out features of 10 of 10 samples are not finite"):
        memorisation.shares(x, x, held_out=x * np.nan)
