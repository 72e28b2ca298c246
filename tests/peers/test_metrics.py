"""The metrics against torch-fidelity's on the same features: FID, KID, Inception score, precision and recall."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="make test-peers has it")

import torch
from scipy import special

from diffax.evaluation import Moments, frechet, inception_score, kernel, precision_recall
from tests.peers import fidelity


def features(seed=0, generated=700, reference=900, dim=24):
    """Correlated float64 features: generated ones less varied than the reference, with few outside of it."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dim, dim)) / np.sqrt(dim)
    return (
        (rng.standard_normal((generated, dim)) * 0.8 + 0.1) @ mixing,
        rng.standard_normal((reference, dim)) @ mixing,
    )


def relative(value):
    return pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("sizes", [(700, 900, 24), (20, 40, 32), (300, 300, 1)])
def test_fid(sizes):
    """Also with singular covariances: 20 samples of 32 features."""
    generated, reference = features(0, *sizes)
    statistics = [fidelity.fid.fid_features_to_statistics(torch.from_numpy(x)) for x in (generated, reference)]
    # np.cov gives a covariance of shape () for one feature.
    for one in statistics:
        one["sigma"] = one["sigma"].reshape(sizes[2], sizes[2])
    theirs = fidelity.fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet.distance(Moments.of(generated), Moments.of(reference)) == relative(theirs)


def test_kid_of_whole_sets():
    """With subsets as large as the sets, which are then the same in both."""
    generated, reference = features(generated=700, reference=700)
    options = dict(kid_subsets=2, kid_subset_size=700, verbose=False)
    theirs = fidelity.kid.kid_features_to_metric(*map(torch.from_numpy, (generated, reference)), **options)
    ours = kernel.distance(generated, reference, seed=0, num_subsets=2, subset_size=700)
    assert ours.value == relative(theirs["kernel_inception_distance_mean"])
    assert ours.value == relative(kernel.squared_mmd(generated, reference))


def test_kid_over_subsets():
    """Subsets are drawn by other generators: the means agree within their errors, and so do the spreads."""
    generated, reference = features()
    options = dict(kid_subsets=200, kid_subset_size=100, verbose=False)
    theirs = fidelity.kid.kid_features_to_metric(*map(torch.from_numpy, (generated, reference)), **options)
    ours = kernel.distance(generated, reference, seed=0, num_subsets=200, subset_size=100)
    assert abs(ours.value - theirs["kernel_inception_distance_mean"]) < 4 * ours.standard_error
    spread = theirs["kernel_inception_distance_std"] / np.sqrt(200)
    assert ours.standard_error == pytest.approx(spread, rel=0.2)


def test_inception_score():
    """On the probabilities of their logits, in the order that they shuffle them to."""
    logits = np.random.default_rng(0).standard_normal((1003, 10)) * 3
    theirs = fidelity.inception_score.isc_features_to_metric(
        torch.from_numpy(logits), splits=10, shuffle=True, rng_seed=2020
    )
    shuffled = logits[np.random.RandomState(2020).permutation(1003)]
    ours = inception_score.score(special.softmax(shuffled, axis=1), num_splits=10)
    assert ours.value == relative(theirs["inception_score_mean"])
    assert ours.standard_error * np.sqrt(9) == relative(theirs["inception_score_std"])  # theirs divides by n


@pytest.mark.parametrize("save_cpu_ram", [False, True])
def test_precision_and_recall(save_cpu_ram):
    """Asymmetric: a generated set that is less varied has a higher precision than recall."""
    for sets in (features(), features()[::-1]):
        options = dict(prc_neighborhood=3, prc_batch_size=250, save_cpu_ram=save_cpu_ram, verbose=False)
        theirs = fidelity.precision_recall.prc_features_to_metric(
            *map(torch.from_numpy, map(np.ascontiguousarray, sets)), **options
        )
        ours = precision_recall.precision_recall(*sets, k=3)
        assert ours.precision == relative(theirs["precision"])
        assert ours.recall == relative(theirs["recall"])
    assert ours.recall > ours.precision + 0.1
