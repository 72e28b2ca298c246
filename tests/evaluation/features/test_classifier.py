"""The classifier of the data set at hand: it learns the digits, and is trained once."""

import dataclasses

import numpy as np
import pytest
from sklearn.datasets import load_digits

from diffax.evaluation.features import classifier, conversion

NUM_STEPS = 150  # one recipe, so that one program is compiled for all tests


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    images = np.clip(images * 16, 0, 255).astype(np.uint8).reshape(-1, 8, 8, 1)
    order = np.random.default_rng(0).permutation(len(images))
    return images[order], labels[order]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "diffax" / "classifiers"


def test_it_learns_the_digits_and_is_trained_once(digits, cache):
    images, labels = digits
    steps = []
    options = dict(num_steps=NUM_STEPS, report=lambda step, total: steps.append((step, total)))
    extract = classifier.classifier(images[:1500], labels[:1500], **options)
    assert steps == [(step, NUM_STEPS) for step in range(50, NUM_STEPS + 1, 50)]
    result = extract(images[1500:])
    assert result.values.shape == (297, 128) and result.probabilities.shape == (297, 10)
    assert (result.probabilities.argmax(axis=1) == labels[1500:]).mean() > 0.95
    steps.clear()
    again = classifier.classifier(images[:1500], labels[:1500], **options)
    assert not steps and again.checksum == extract.checksum and len(extract.checksum) == 64
    for name, value in classifier._flat(extract.params).items():
        np.testing.assert_array_equal(classifier._flat(again.params)[name], value)
    with pytest.raises(ValueError, match=r"trained on images of \(8, 8\), got images of \(9, 9\)"):
        extract(np.zeros((1, 9, 9, 1), np.uint8))


def test_a_damaged_file_is_made_again(digits, cache):
    images, labels = (each[:20] for each in digits)
    first = classifier.classifier(images, labels, num_steps=NUM_STEPS)
    (path,) = cache.iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    assert classifier.classifier(images, labels, num_steps=NUM_STEPS).checksum == first.checksum
    with np.load(path) as kept:
        assert "logits/kernel" in kept


def test_a_cache_that_cannot_be_written_is_done_without(digits, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    images, labels = (each[:20] for each in digits)
    extract = classifier.classifier(images, labels, num_steps=NUM_STEPS)
    assert len(extract.checksum) == 64


def test_its_file_is_that_of_the_data_and_of_the_recipe():
    images, labels = np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1), np.array([0, 1], np.int32)
    recipe = classifier.Recipe(num_steps=10, seed=0)
    others = [
        (images, labels, dataclasses.replace(recipe, num_steps=11)),
        (images, labels, dataclasses.replace(recipe, seed=1)),
        (images, labels, dataclasses.replace(recipe, learning_rate=1e-3)),
        (images, labels[::-1], recipe),
        (images[::-1], labels, recipe),
        (images.reshape(2, 2, 8, 1), labels, recipe),
    ]
    keys = {classifier._key(*each) for each in [(images, labels, recipe), *others]}
    assert len(keys) == 7
    assert classifier._key(images.copy(), labels.copy(), classifier.Recipe(10, 0)) in keys


@pytest.mark.parametrize(("shape", "count"), [((8, 8, 1), 2), ((32, 32, 3), 3), ((5, 17, 3), 2), ((2, 2, 1), 2)])
def test_convolutions_halve_the_sides(shape, count):
    layers = {path[0] for path in conversion.shapes_of(classifier.Classifier(10), (1, *shape))}
    assert layers == {*(f"conv_{index}" for index in range(count)), "dense", "logits"}


def test_what_cannot_be_learnt_from_is_refused():
    images = np.zeros((4, 8, 8, 1), np.uint8)
    for labels, message in [
        (np.zeros(4, int), r"of at least 2 classes, got 0\.\.0"),
        (np.array([0, 1, -1, 0]), r"got -1\.\.1"),
        (np.zeros(3, int), r"needs 4 whole-number labels, one for each image, got int64 of shape \(3,\)"),
        (np.zeros(4), "whole-number labels"),
    ]:
        with pytest.raises(ValueError, match=message):
            classifier.classifier(images, labels)
    with pytest.raises(ValueError, match="classifier needs uint8 images"):
        classifier.classifier(images.astype(np.float32), np.arange(4))
    with pytest.raises(ValueError, match="num_steps must be >= 1, got 0"):
        classifier.classifier(images, np.arange(4), num_steps=0)
