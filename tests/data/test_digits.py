import numpy as np
import pytest
from sklearn import datasets

from diffax.data import digits


def test_splits_are_disjoint_and_together_all():
    train, test, everything = (digits.load(split) for split in ("train", "test", "all"))
    assert (len(train), len(test), len(everything)) == (1500, 297, 1797)
    np.testing.assert_array_equal(np.concatenate([train.examples, test.examples]), everything.examples)
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), everything.labels)


def test_images_are_those_of_scikit_learn():
    source = datasets.load_digits()
    test = digits.load("test")
    assert test.examples.shape == (297, 8, 8, 1) and test.examples.dtype == np.uint8
    np.testing.assert_array_equal(test.examples[..., 0], source.images[-297:])
    np.testing.assert_array_equal(test.labels, source.target[-297:])
    scaled = test.to_network_range(test.examples)
    np.testing.assert_array_equal(scaled[..., 0], source.images[-297:] / 8 - 1)
    assert (scaled.min(), scaled.max()) == (-1.0, 1.0)


def test_unknown_split_lists_the_valid_ones():
    with pytest.raises(ValueError, match="unknown split 'valid' of digits, expected one of: train, test, all"):
        digits.load("valid")
