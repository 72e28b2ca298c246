import numpy as np
import pytest

from diffax.data import dataset


def images(**changes):
    fields = dict(
        name="toy",
        examples=np.zeros((4, 2, 2, 1), np.uint8),
        labels=np.array([0, 1, 2, 1], np.int32),
        num_classes=3,
        num_levels=256,
    )
    return dataset.Dataset(**(fields | changes))


def points(examples):
    return dataset.Dataset(name="toy", examples=examples)


def test_bytes_span_minus_one_to_one():
    pixels = np.array([0, 51, 255], np.uint8).reshape(1, 3, 1, 1)
    scaled = images(examples=pixels, labels=None, num_classes=None).to_network_range(pixels)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.ravel(), [-1.0, -0.6, 1.0], atol=1e-7)


def test_seventeen_levels_are_exact_eighths():
    pixels = np.arange(17, dtype=np.uint8).reshape(1, 17, 1, 1)
    digits = images(examples=pixels, labels=None, num_classes=None, num_levels=17)
    np.testing.assert_array_equal(digits.to_network_range(pixels).ravel(), np.arange(-8, 9) / 8)


def test_points_keep_their_values():
    x = np.array([[1.5, -2.0]], np.float32)
    np.testing.assert_array_equal(points(x).validate().to_network_range(x), x)


def test_a_valid_dataset_is_returned():
    data = images()
    assert data.validate() is data
    assert len(data) == 4 and data.shape == (2, 2, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(examples=np.zeros((0, 2, 2, 1), np.uint8)), r"toy: expected at least one example.*\(0, 2, 2, 1\)"),
        (dict(examples=np.zeros((4, 2, 2), np.uint8)), r"toy: uint8 examples must be NHWC.*\(4, 2, 2\)"),
        (dict(examples=np.zeros((4, 2, 2, 1), np.float64)), "toy: .*uint8 images or float32, got float64"),
        (dict(examples=np.full((4, 2, 2, 1), 20, np.uint8), num_levels=17), r"toy: pixel value 20 is outside 0\.\.16"),
        (dict(num_levels=None), "toy: uint8 examples need num_levels"),
        (dict(labels=np.array([0, 1, 3, 1], np.int32)), r"toy: label 3 at index 2 is outside 0\.\.2"),
        (dict(labels=np.array([0, -1, 0, 1], np.int32)), r"toy: label -1 at index 1 is outside 0\.\.2"),
        (dict(labels=np.zeros(3, np.int32)), r"toy: expected 4 labels.*\(3,\)"),
        (dict(labels=np.zeros(4, np.int64)), "toy: labels must be int32, got int64"),
        (dict(num_classes=None), "toy: labels need num_classes"),
        (dict(labels=None), "toy: num_classes is 3 but there are no labels"),
    ],
)
def test_what_is_wrong_is_named(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        images(**changes).validate()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_non_finite_value_is_named(bad):
    x = np.zeros((5, 2), np.float32)
    x[3, 1] = x[4, 0] = bad
    with pytest.raises(ValueError, match=rf"toy: examples must be finite, got {bad} at index \(3, 1\)"):
        points(x).validate()


def test_a_class_is_given_by_its_name_or_number():
    names = ("5", "10", "cat")
    for label, number in (("cat", 2), ("10", 1), (10, 1), ("5", 0), (1, 1), ("2", 2)):
        assert dataset.class_number("--label", label, 3, names) == number
    for label in ("dog", -1, 3, "7", "²", ""):
        with pytest.raises(ValueError, match=rf"--label must be in 0\.\.2 or one of 5, 10, cat, got {label}"):
            dataset.class_number("--label", label, 3, names)
    assert dataset.class_number("--label", "1", 3, None) == 1
    assert dataset.described_class(1, names) == "1 (10)" and dataset.described_class(1, None) == "1"


def test_the_examples_of_one_class():
    data = images(examples=np.arange(16, dtype=np.uint8).reshape(4, 2, 2, 1), class_names=("ant", "bee", "cat"))
    for label in ("bee", 1):
        chosen = dataset.only(data, label)
        np.testing.assert_array_equal(chosen.examples, data.examples[[1, 3]])
        assert chosen.name == "toy, class 1 (bee)" and chosen.labels is None and chosen.class_names is None
    few = images(labels=np.array([0, 1, 1, 1], np.int32), class_names=("ant", "bee", "cat"))
    with pytest.raises(ValueError, match=r"^data.only_label = cat: toy has no example of class 2 \(cat\)$"):
        dataset.only(few, "cat")
    with pytest.raises(ValueError, match=r"data.only_label must be in 0\.\.2 or one of ant, bee, cat, got dog"):
        dataset.only(few, "dog")


def test_class_names_are_as_many_as_classes():
    with pytest.raises(ValueError, match="toy: expected as many class_names as num_classes = 3, got 2"):
        images(class_names=("ant", "bee")).validate()
