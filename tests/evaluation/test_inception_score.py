"""The Inception score: closed forms, and entropies by SciPy."""

import numpy as np
import pytest
from scipy import stats

from diffax.evaluation import inception_score


def test_certain_and_balanced_is_the_number_of_classes_and_uncertain_is_1():
    certain = np.eye(7)[np.arange(700) % 7]
    assert inception_score.score(certain, num_splits=10).value == pytest.approx(7)
    assert inception_score.score(certain, num_splits=10).standard_error == pytest.approx(0, abs=1e-12)
    assert inception_score.score(np.full((700, 7), 1 / 7)).value == pytest.approx(1)
    assert inception_score.score(certain[:1].repeat(50, axis=0)).value == pytest.approx(1)


def test_it_is_the_mean_over_splits_of_exponentials_of_entropies():
    """mean KL(p(y|x) || p(y)) = H(mean p) - mean H(p), within each split."""
    p = np.random.default_rng(0).dirichlet(np.full(5, 0.3), 103)
    scores = []
    for i in range(4):
        part = p[i * 103 // 4 : (i + 1) * 103 // 4]
        scores.append(np.exp(stats.entropy(part.mean(axis=0)) - stats.entropy(part, axis=1).mean()))
    found = inception_score.score(p, num_splits=4)
    assert found.value == pytest.approx(np.mean(scores), rel=1e-12)
    assert found.standard_error == pytest.approx(stats.sem(scores), rel=1e-12)
    whole = inception_score.score(p, num_splits=1)
    assert whole.value == pytest.approx(np.exp(stats.entropy(p.mean(axis=0)) - stats.entropy(p, axis=1).mean()))
    assert np.isnan(whole.standard_error)


def test_splits_are_of_a_seeded_order():
    p = np.eye(5)[np.repeat(np.arange(5), 20)]
    assert inception_score.score(p, num_splits=5).value == pytest.approx(1)  # each split has one class
    shuffled = inception_score.score(p, num_splits=5, seed=0)
    assert shuffled.value > 4 and shuffled == inception_score.score(p, num_splits=5, seed=0)
    assert shuffled != inception_score.score(p, num_splits=5, seed=1)


def test_what_is_no_probability_is_refused():
    logits = np.random.default_rng(0).standard_normal((20, 3))
    with pytest.raises(ValueError, match=r"sum to 1 for each sample, got .*: apply a softmax to logits"):
        inception_score.score(logits)
    with pytest.raises(ValueError, match=r"smallest value of -0\.5"):
        inception_score.score(np.array([[1.5, -0.5]] * 10))
    with pytest.raises(ValueError, match="10 splits need at least as many samples, got 9"):
        inception_score.score(np.full((9, 2), 0.5))
    with pytest.raises(ValueError, match="class probabilities of 1 of 10 samples are not finite"):
        inception_score.score(np.array([[np.nan, 0.5]] + [[0.5, 0.5]] * 9))
