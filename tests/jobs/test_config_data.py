"""What config.data names, as a person names it on the command line, on small stand-ins in the official formats."""

import functools
import importlib
import itertools
import tracemalloc

import jax
import numpy as np
import pytest
from PIL import Image

from diffax import build_data, data, resolve
from diffax.data.dataset import in_memory
from tests.data import archives, stand_ins
from tests.jobs.test_launch import MATRIX, config


def config_of(base, **changes):
    config = importlib.import_module(f"configs.{base}").get_config()
    return resolve.resolve(resolve.override(config, [(f"data.{key}", str(value)) for key, value in changes.items()]))


def builder_in(data_dir, builder, name, _):
    """A builder that keeps its data elsewhere than at home."""
    return builder(name, data_dir)


def test_the_headline_command_from_nothing(command, tmp_path, monkeypatch):
    """CIFAR-10 from an archive of its official layout: downloaded, prepared and trained on, once."""
    monkeypatch.setattr(data.prepare, "builder", functools.partial(builder_in, tmp_path / "tfds", data.prepare.builder))
    served = tmp_path / "served"
    served.mkdir()
    truth = archives.cifar10(served / "cifar-10-binary.tar.gz")
    with archives.serving(served) as server:
        remotes = (archives.remote(server.url, served / "cifar-10-binary.tar.gz"),)
        stand_in = data.prepare.ARCHIVES["cifar10"]._replace(remotes=remotes)
        monkeypatch.setitem(data.prepare.ARCHIVES, "cifar10", stand_in)
        code, out, err = command("--config", config("cifar_ddpm"), "--workdir", tmp_path / "run", *MATRIX)
        assert code == 0, err
        assert "10 examples on the device" in out and "cifar-10-binary.tar.gz: 100%" in err
        sent = server.sent
        again = build_data.dataset(config_of("cifar_ddpm"), "test")
        assert server.sent == sent and len(again) == 2
    assert {x.tobytes() for x in again.examples} == {x.tobytes() for x in truth["test"][0]}


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_official_idx_files(tmp_path, name):
    truth = archives.mnist(tmp_path, train=60, test=20)
    loaded = in_memory("labels", build_data.dataset(config_of(name, path=str(tmp_path)), "train"))
    images, labels = truth["train"]
    expected = images if name == "mnist" else images[labels == 7]
    assert loaded.shape == (32, 32, 1) and (loaded.labels is None) == (name == "fashion_mnist")
    np.testing.assert_array_equal(loaded.examples[:, 2:-2, 2:-2, 0], expected)


@pytest.mark.parametrize(
    ("name", "splits", "kind"),
    [("celeb_a", ("train", "test"), "jpeg"), ("imagenet_resized/32x32", ("train", "validation"), "png")],
)
def test_sets_of_tfds_by_name(tmp_path, name, splits, kind):
    """As the documentation of configs/cifar_ddpm.py says, with the features of the stock sets."""
    stand_ins.prepare(name, tmp_path, splits, kind=kind)
    for split in ("train", "test"):
        loaded = build_data.dataset(config_of("cifar_ddpm", name=name, path=str(tmp_path), size=16), split)
        assert loaded.shape == (16, 16, 3) and len(loaded) == 6 and loaded.examples.std() > 1
        assert loaded.num_classes == (None if name == "celeb_a" else 1000)


def test_what_does_not_fit_in_memory_is_decoded_as_it_is_needed(tmp_path):
    """The batches that are made from memory, to the bit, whoever decodes."""
    stand_ins.prepare("imagenet_resized/8x8", tmp_path, ("train", "validation"))
    changes = {"data.name": "imagenet_resized/8x8", "data.path": str(tmp_path), "train.batch_size": "4"}
    base = resolve.override(importlib.import_module("configs.cifar_ddpm").get_config(), changes.items())
    made = resolve.resolve(base)
    memory = build_data.dataset(made, "train")
    held = [
        jax.device_get(batch.batch(np.int32(step)))
        for step, batch in enumerate(itertools.islice(build_data.batches(made, memory, 0), 5))
    ]
    made = resolve.resolve(resolve.override(base, [("data.cache_gb", "0"), ("data.workers", "0")]))
    reader = build_data.dataset(made, "train")
    assert isinstance(reader, data.source.Reader) and not build_data.is_on_device(made, reader)
    for expected, got in zip(held, build_data.batches(made, reader, 0), strict=False):
        np.testing.assert_array_equal(got["x"], expected["x"])
        np.testing.assert_array_equal(got["label"], expected["label"])


def test_dequantised_pixels_fill_the_range_evenly():
    made = config_of("digits", dequantize=True)
    digits = build_data.dataset(made, "train")
    keys = jax.random.split(jax.random.key(0), len(digits))
    x = np.asarray(build_data.preprocess(made, digits)({"x": digits.examples}, keys)["x"])
    level = (x + 1) / 2 * 17
    np.testing.assert_array_equal(np.floor(level), digits.examples)  # the noise takes no pixel out of its level
    assert abs((level % 1).mean() - 0.5) < 0.005 and abs((level % 1).std() - 12**-0.5) < 0.005
    with pytest.raises(ValueError, match=r"data\.dequantize is for images"):
        spiral = config_of("spiral", dequantize=True)
        build_data.preprocess(spiral, build_data.dataset(spiral, "train"))


def test_data_larger_than_the_cache_are_never_held(tmp_path):
    """All that is allocated while two epochs are decoded stays below data.cache_gb, which the whole would not."""
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 96, 96, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "train" / f"{i:02d}.png")
    cache = 0.5 * pixels.nbytes
    made = config_of("cifar_ddpm", name="folder", path=str(tmp_path), cache_gb=cache / 1e9)
    stream = data.pipeline.Pipeline(build_data.dataset(made, "train"), 8).batches()
    next(stream)  # what is imported on first use is no data
    tracemalloc.start()
    for _ in range(10):
        next(stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pixels[:8].nbytes < peak < cache
