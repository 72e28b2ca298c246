"""The Examples protocol and its two implementations, in memory and decoded from disk."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from diffax.data import dataset, examples, folder, pipeline, source

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
LABELS = np.array([0, 0, 0, 1, 1, 1], np.int32)


@pytest.fixture
def opened(tmp_path):
    """A folder of six images in two classes."""
    for i, image in enumerate(PIXELS):
        for split in ("train", "test"):
            path = tmp_path / split / "ab"[i // 3] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return folder.open_folder("train", path=str(tmp_path))


def test_both_give_the_same_examples(opened):
    memory, disk = source.load(opened), source.Reader(opened)
    rows = np.array([5, 0, 3, 3])
    for data in (memory, disk):
        assert isinstance(data, examples.Examples) and data.validate() is data
        assert (len(data), data.shape, data.num_classes, data.num_levels) == (6, (4, 5, 3), 2, 256)
        assert data.name == opened.name and data.num_replaced == 0
        batch = data.batch(rows)
        assert set(batch) == {"x", "label"}
        np.testing.assert_array_equal(batch["x"], PIXELS[rows])
        np.testing.assert_array_equal(batch["label"], LABELS[rows])
        assert batch["x"].dtype == np.uint8 and batch["label"].dtype == np.int32
        scaled = data.to_network_range(batch["x"])
        assert scaled.dtype == np.float32
        np.testing.assert_allclose(scaled, PIXELS[rows] / 127.5 - 1, atol=1e-6)
        assert pipeline.Pipeline(data, 4, seed=1).batch(2)["label"].shape == (4,)
    assert memory.in_memory and not disk.in_memory


def test_there_is_no_label_without_labels():
    unlabelled = dataset.Dataset(name="images", examples=PIXELS, num_levels=256)
    assert set(unlabelled.batch(np.array([1]))) == {"x"}


def test_replaced_examples_are_counted(opened):
    opened.files[1].write_bytes(b"no image")
    disk = source.Reader(opened, skip=True)
    for _ in range(2):
        batch = disk.batch(np.arange(6))
        np.testing.assert_array_equal(batch["x"], PIXELS[[0, 2, 2, 3, 4, 5]])
        assert disk.num_replaced == 1
    assert source.load(opened, skip=True).num_replaced == 1


def test_a_feature_that_needs_all_data_gets_a_dataset_or_says_so(opened):
    memory = source.load(opened)
    assert dataset.in_memory("loss.stable_targets", memory) is memory
    with pytest.raises(ValueError, match=r"^loss.stable_targets needs the data in memory: raise data.cache_gb$"):
        dataset.in_memory("loss.stable_targets", source.Reader(opened))


def test_a_source_without_examples_is_refused(opened):
    empty = source.Reader(dataclasses.replace(opened, files=[], labels=[]))
    with pytest.raises(ValueError, match="train: expected at least one example, got none"):
        pipeline.Pipeline(empty, 4)
