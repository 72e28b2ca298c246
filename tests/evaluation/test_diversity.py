"""Diversity within classes against SciPy's pairwise distances."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from diffax.evaluation import diversity


def sets():
    rng = np.random.default_rng(0)
    reference_labels, generated_labels = np.arange(90) % 3, np.arange(40) % 2
    reference = rng.standard_normal((90, 4)) + 100 * reference_labels[:, None]
    generated = rng.standard_normal((40, 4)) * 0.5 + 100 * generated_labels[:, None]
    return generated, reference, dict(generated_labels=generated_labels, reference_labels=reference_labels)


def test_it_is_the_ratio_of_mean_distances_within_each_class():
    generated, reference, labels = sets()
    found = diversity.within_classes(generated, reference, **labels)
    assert list(found.by_class) == [0, 1]
    for label, value in found.by_class.items():
        parts = (generated[labels["generated_labels"] == label], reference[labels["reference_labels"] == label])
        expected = pdist(parts[0]).mean() / pdist(parts[1]).mean()
        assert value == pytest.approx(expected, rel=1e-9) and 0.3 < value < 0.6
    assert found.mean == pytest.approx(np.mean(list(found.by_class.values())))


def test_the_data_itself_has_1_and_a_collapsed_class_0():
    _, reference, labels = sets()
    same = dict(generated_labels=labels["reference_labels"], reference_labels=labels["reference_labels"])
    found = diversity.within_classes(reference, reference, **same)
    assert found.by_class == {0: 1, 1: 1, 2: 1}
    collapsed = np.where(labels["reference_labels"][:, None] == 1, 0.3, reference)
    found = diversity.within_classes(collapsed, reference, **same)
    assert found.by_class == {0: 1, 1: 0, 2: 1} and found.mean == pytest.approx(2 / 3)


def test_what_has_no_ratio_is_named(unchecked):
    generated, reference, labels = sets()
    with pytest.raises(ValueError, match="expected 40 generated labels, one per sample, got shape"):
        diversity.within_classes(generated, reference, **(labels | {"generated_labels": np.zeros(39, int)}))
    for key, what, label in (("generated_labels", "generated", 7), ("reference_labels", "reference", 0)):
        changed = labels[key].copy()
        changed[0 if what == "generated" else changed == 0] = 7
        expected = rf"class {label} has [01] {what} samples: a distance needs at least 2"
        with pytest.raises(ValueError, match=expected):
            diversity.within_classes(generated, reference, **(labels | {key: changed}))
    with pytest.raises(ValueError, match="reference samples of class 0 are all the same"):
        diversity.within_classes(generated, np.where(reference < 50, 0.0, reference), **labels)
