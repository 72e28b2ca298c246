"""Label agreement of predicted classes and probabilities."""

import numpy as np
import pytest

from diffax.evaluation import agreement


def test_the_share_and_its_binomial_error():
    found = agreement.share(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 1]))
    assert found == (0.75, pytest.approx(np.sqrt(0.75 * 0.25 / 4)))
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    assert agreement.share(probabilities, np.array([0, 1, 0])).value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        (
            np.array([0, 1]),
            np.array([0]),
            r"predictions \(n,\) or \(n, classes\) and labels \(n,\), got \(2,\) and \(1,\)",
        ),
        (np.zeros(0, int), np.zeros(0, int), "expected predictions"),
        (np.eye(3), np.array([0, 1, 3]), "labels must be from 0 to 2, the classes predicted, got 0 to 3"),
        (np.array([[np.nan, 0.0]]), np.array([0]), "predictions of 1 of 1 samples are not finite"),
        (np.array([0.3, 0.6]), np.array([0, 1]), "predicted classes must be integers, got float64"),
    ],
)
def test_what_cannot_be_compared_is_refused(unchecked, predicted, labels, message):
    with pytest.raises(ValueError, match=message):
        agreement.share(predicted, labels)
