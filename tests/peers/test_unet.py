"""networks.UNet against diffusers' UNet2DModel with the same weights: outputs, gradients, and the goldens of both."""

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="make test-peers has it")

from tests.networks.test_unet_is_ddpms import ours
from tests.peers import unet_weights
from tests.peers.diffusers_unet import GOLDENS, LAYOUTS, inputs, model, shapes_of, summary, theirs


@pytest.mark.parametrize("name", LAYOUTS)
def test_outputs_and_gradients(x64, name):
    given = inputs(name, shapes_of(LAYOUTS[name]))
    for mine, other, tolerance in zip(ours(name, given), theirs(name, given), (1e-5, 1e-4, 1e-4), strict=True):
        if not isinstance(mine, dict):
            np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance * np.abs(other).max())
            continue
        mine, other = dict(unet_weights.leaves(mine)), dict(unet_weights.leaves(other))
        assert set(mine) == set(other)
        for path, value in other.items():
            scale = max(np.abs(value).max(), 1e-3)
            np.testing.assert_allclose(mine[path], value, rtol=tolerance, atol=tolerance * scale, err_msg=path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_weight_has_its_place(name):
    """Their state_dict to our tree and back, and our tree has the leaves of our network."""
    state = {key: value.numpy() for key, value in model(name).state_dict().items()}
    params = unet_weights.from_theirs(LAYOUTS[name], state)
    shapes = {path: leaf.shape for path, leaf in unet_weights.leaves(shapes_of(LAYOUTS[name]))}
    assert {path: leaf.shape for path, leaf in unet_weights.leaves(params)} == shapes
    back = unet_weights.to_theirs(LAYOUTS[name], params)
    assert set(back) == set(state)
    for key, value in state.items():
        np.testing.assert_array_equal(back[key], value)
    with pytest.raises(ValueError, match=r"these weights have no place in our network: encoder\.weight"):
        unet_weights.from_theirs(LAYOUTS[name], state | {"encoder.weight": np.zeros(3)})


@pytest.mark.parametrize("name", LAYOUTS)
def test_goldens_are_what_diffusers_gives(name):
    stored, given = np.load(GOLDENS.with_suffix(".npz")), inputs(name, shapes_of(LAYOUTS[name]))
    out, x_grad, grads = theirs(name, given)
    norms, products = summary(grads, given)
    for key, value in {"out": out, "x_grad": x_grad, "norms": norms, "products": products}.items():
        np.testing.assert_allclose(stored[f"{name}/{key}"], value, rtol=1e-6, atol=1e-8)
