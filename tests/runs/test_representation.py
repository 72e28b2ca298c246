"""Losses in features: runs that train in them, what is refused, and the mark that their measurements bear."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import build_data, resolve
from diffax.evaluation import features, frechet
from diffax.evaluation.features import classifier, efficientnet_lite0, extractor, pixels
from diffax.evaluation.moments import Moments
from diffax.reporting import images
from diffax.runs import DataDescription, Model, directory, measuring, representation
from tests.settings.changed import changed

POINTS = {"model": "mlp", "model.hidden": 8, "model.depth": 1, "data": "two_moons", "data.num_points": 64}
ONE_STEP = {"schedule": "flow", "parameterization": "flow", "sampler.num_steps": 1}


def described(config):
    examples = build_data.dataset(config, "train")
    return Model.build(config, DataDescription.of(config, examples)), examples


def of(extractor, x):
    """(features of samples by the differentiable function, features of their bytes by the extractor)."""
    return np.asarray(features.of_samples(extractor)(x)), extractor(images.to_uint8(np.asarray(x))).values


def samples(channels):
    grey = np.random.default_rng(0).integers(0, 256, (3, 8, 8, channels))
    return jnp.asarray(grey / 127.5 - 1, jnp.float32)  # bytes, so that rounding changes nothing


def test_features_of_samples_are_those_of_their_bytes():
    network = classifier.Classifier(4)
    params = network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
    own = extractor.NetworkExtractor(
        "classifier",
        "",
        "",
        params,
        jax.tree_util.Partial(classifier.features, network),
        lambda x: x,
        3,
        1,
        lambda x: x,
    )
    for chosen in (pixels.pixels(), own):
        found, expected = of(chosen, samples(1))
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # Differentiable: along a direction as finite differences.
    x, way = samples(1), np.random.default_rng(1).standard_normal((3, 8, 8, 1)).astype(np.float32)
    function = jax.jit(features.of_samples(own))
    _, slope = jax.jvp(lambda s: function(x + s * way), (0.0,), (1.0,))
    change = (np.asarray(function(x + 1e-3 * way)) - np.asarray(function(x - 1e-3 * way))) / 2e-3
    np.testing.assert_allclose(slope, change, atol=0.02 * np.abs(change).max())
    assert np.abs(slope).max() > 1e-2
    with pytest.raises(ValueError, match=r"classifier needs images of 1 channels, got samples of shape \(8, 8, 3\)"):
        function(jnp.zeros((2, 8, 8, 3)))


def test_the_differentiable_resize_is_pillows():
    grey = np.random.default_rng(0).integers(90, 160, (2, 20, 20, 3), np.uint8)
    expected = efficientnet_lite0.resize.pillow(grey, 45, filter="bicubic").astype(float)
    found = np.asarray(efficientnet_lite0.resize.bicubic(jnp.asarray(grey, jnp.float32), 45))
    # Pillow rounds after each axis, and would clip at 0 and 255.
    assert np.abs(found - expected).max() < 1.5 and np.abs(found - expected).mean() < 0.5


def test_features_that_are_not_differentiable_are_refused():
    config = changed(POINTS | ONE_STEP | {"loss": "drifting", "loss.features": "tests.tiny:doubled"})
    with pytest.raises(ValueError, match=r"the features 'doubled' cannot be trained on, since they are no differ"):
        representation.attached(*described(config))
    config = changed(POINTS | ONE_STEP | {"loss": "frechet_distance", "loss.features": "classifier"})
    with pytest.raises(ValueError, match="the features need classes, and two_moons/train has no labels"):
        representation.attached(*described(config))


def test_the_moments_are_those_of_the_data():
    model, examples = described(changed(POINTS | ONE_STEP | {"loss": "frechet_distance"}))
    assert model.hyperparameters.representation is None
    attached = representation.attached(model, examples)
    found, expected = attached.hyperparameters.representation, Moments.of(examples.examples)
    np.testing.assert_allclose(found.mean, expected.mean)
    np.testing.assert_allclose(found.root @ found.root.T, expected.covariance, rtol=1e-9)
    assert frechet.distance(Moments.of(np.asarray(found.features(jnp.asarray(examples.examples)))), expected) == 0
    assert attached.loss is model.loss and representation.attached(attached, examples) is attached
    # Drifting takes features alone, and other losses none.
    drifting = representation.attached(*described(changed(POINTS | ONE_STEP | {"loss": "drifting"})))
    assert drifting.hyperparameters.representation.mean is None
    plain, examples = described(changed(POINTS))
    assert representation.attached(plain, examples) is plain


def test_a_run_knows_the_features_it_was_trained_in(tmp_path):
    """Its own, and those of the run that it started from."""
    first, second = tmp_path / "first", tmp_path / "second"
    config = changed(POINTS | ONE_STEP | {"loss": "frechet_distance"})
    description = DataDescription("two_moons", (2,))
    for run in (first, second):
        run.mkdir()
        description.write(run)
    directory.write_description(first, config, 0)
    assert directory.trained_on(first, config) == ("pixels",)
    directory.write_start(second, first)
    assert json.loads((second / "init_from.json").read_text())["run"] == str(first)
    plain = changed(POINTS | ONE_STEP)
    assert directory.trained_on(second, plain) == ("pixels",) and directory.trained_on(first, plain) == ()
    other = resolve.resolve(resolve.override(config, [("loss.features", "classifier")]))
    assert directory.trained_on(second, other) == ("classifier", "pixels")
    of_pixels = types.SimpleNamespace(features_name="pixels")
    assert measuring.Protocol.remark(of_pixels, ("classifier", "pixels")) == {"remark": "trained on these features"}
    assert measuring.Protocol.remark(of_pixels, ("classifier",)) == {}
