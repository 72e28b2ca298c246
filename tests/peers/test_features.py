"""Feature extractors against the PyTorch networks whose weights they read, each from one file of weights."""

import functools
import math
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch", reason="make test-peers has it")

import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_image

from diffax.evaluation.features import conversion, dinov2, efficientnet_lite0, inception, resize
from experiments.benchmarks.peers import torchvision_operators

torchvision_operators.do_without()


def random_state(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights under which activations neither vanish nor grow: He's standard deviation, batch norms near identity."""
    rng, state = np.random.default_rng(seed), {}
    for name, shape in shapes.items():
        value = rng.standard_normal(shape)
        if name.endswith("running_var"):
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) in (2, 4):
            value = value * math.sqrt(2 / math.prod(shape[1:]))
        elif name.endswith(("weight", "gamma")):
            value = rng.uniform(0.7, 1.3, shape)
        else:
            value = 0.1 * value
        state[name] = value.astype(np.float32)
    return state


def save(state: dict[str, np.ndarray], path: str) -> str:
    torch.save({name: torch.from_numpy(value) for name, value in state.items()}, path)
    return path


def crops(count: int, side: int) -> np.ndarray:
    """Square crops of scikit-learn's two photographs."""
    rng = np.random.default_rng(0)
    photographs = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    images = []
    for index in range(count):
        photograph = photographs[index % 2]
        top, left = (rng.integers(0, size - side + 1) for size in photograph.shape[:2])
        images.append(photograph[top : top + side, left : left + side])
    return np.stack(images)


def nchw(images: np.ndarray) -> "torch.Tensor":
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


@functools.cache
def inception_file(folder) -> SimpleNamespace:
    shapes = conversion.shapes_of(inception.Inception(), (1, 75, 75, 3))
    shapes = conversion.torch_shapes(shapes, inception._source)
    state = random_state(shapes)
    counters = {f"{name[: -len('weight')]}num_batches_tracked": np.array(0) for name in shapes if ".bn.weight" in name}
    path = save(state | counters, str(folder / "inception.pth"))
    extractor = inception.inception_2015(path=path, batch_size=2)
    images = crops(2, 64)
    return SimpleNamespace(path=path, images=images, features=extractor(images), num_tensors=len(state | counters))


@pytest.fixture(scope="module")
def our_inception(tmp_path_factory):
    return inception_file(tmp_path_factory.mktemp("inception"))


def test_inception_is_that_of_torch_fidelity_from_bytes_to_probabilities(our_inception):
    """With its resize, which it holds against TensorFlow's own."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    assert our_inception.num_tensors == 566  # as in the published file
    theirs = FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"], our_inception.path)
    with torch.no_grad():
        values, logits = theirs(nchw(our_inception.images))
    np.testing.assert_allclose(our_inception.features.values, values, rtol=1e-4, atol=1e-4 * float(values.abs().max()))
    np.testing.assert_allclose(our_inception.features.probabilities, logits.softmax(-1), rtol=1e-3, atol=1e-4)


def test_inception_is_pytorch_fids_network(our_inception, monkeypatch):
    """pytorch-fid takes (x - 127.5) / 127.5 where the TensorFlow graph has (x - 128) / 128: its inputs are mapped."""
    import pytorch_fid.inception

    state = torch.load(our_inception.path, weights_only=True)
    monkeypatch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *args, **kwargs: state)
    theirs = pytorch_fid.inception.InceptionV3([3], resize_input=False, normalize_input=False).eval()
    resized = np.asarray(resize.tensorflow1_bilinear(jnp.asarray(our_inception.images), 299))
    with torch.no_grad():
        (values,) = theirs(nchw((resized - 128) / 128))
    values = values[:, :, 0, 0]
    np.testing.assert_allclose(our_inception.features.values, values, rtol=1e-4, atol=1e-4 * float(values.abs().max()))


def test_dinov2_is_timms_network_with_the_official_names(tmp_path):
    timm = pytest.importorskip("timm")
    network = dinov2.VisionTransformer(384, 12, 6)
    shapes = conversion.torch_shapes(conversion.shapes_of(network, (1, 224, 224, 3)), dinov2._source)
    theirs = timm.create_model("vit_small_patch14_dinov2", img_size=224, num_classes=0, pretrained=False).eval()
    assert {name: tuple(value.shape) for name, value in theirs.state_dict().items()} == shapes
    state = random_state(shapes)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    path = save(state | {"mask_token": np.zeros((1, 384), np.float32)}, str(tmp_path / "vits14.pth"))
    images = crops(2, 224)
    ours = dinov2.dinov2_vits14(path=path, batch_size=2)(images)
    mean, std = (np.float32(each) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        values = theirs(nchw((images / np.float32(255) - mean) / std))
    np.testing.assert_allclose(ours.values, values, rtol=1e-4, atol=1e-4 * float(values.abs().max()))
    assert ours.probabilities is None


def test_position_embeddings_are_resized_as_by_the_official_code():
    """facebookresearch/dinov2 calls interpolate with this scale factor, without antialiasing."""
    positions = np.random.default_rng(0).standard_normal((1, 1 + 37 * 37, 8)).astype(np.float32)
    grid = torch.from_numpy(positions[:, 1:].reshape(1, 37, 37, 8).transpose(0, 3, 1, 2).copy())
    theirs = F.interpolate(grid, scale_factor=(16.1 / 37, 16.1 / 37), mode="bicubic")
    ours = dinov2.resized_positions(positions)
    np.testing.assert_array_equal(ours[:, 0], positions[:, 0])
    np.testing.assert_allclose(ours[0, 1:].reshape(16, 16, 8), theirs[0].numpy().transpose(1, 2, 0), atol=2e-5)


def test_efficientnet_lite0_is_the_torch_network_of_its_weights():
    """On 64 crops of photographs: the converted network of the package efficientnet-lite-pytorch."""
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_name("efficientnet-lite0").eval()
    path = efficientnet_lite0.packaged_weights()
    theirs.load_state_dict(torch.load(path, weights_only=True), strict=False)
    images = crops(64, 224)
    ours = efficientnet_lite0.efficientnet_lite0(batch_size=16)(images)
    with torch.no_grad():
        inputs = nchw((images.astype(np.float32) - 127) / 128)
        values = torch.cat([theirs.extract_features(part).mean((2, 3)) for part in inputs.split(16)])
        probabilities = theirs._fc(values).softmax(-1)
    np.testing.assert_allclose(ours.values, values, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.probabilities, probabilities, rtol=0, atol=1e-4)
    assert float(values.max()) > 1  # the tolerance is of values of this size
