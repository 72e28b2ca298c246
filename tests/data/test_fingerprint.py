import json

import numpy as np

from diffax.data import dataset, folder, source
from diffax.data.fingerprint import differences, fingerprint
from tests.data.test_listing import fill


def points(examples, labels=None):
    classes = {} if labels is None else {"labels": labels, "num_classes": 2, "class_names": ("a", "b")}
    return dataset.Dataset(name="points", examples=examples, **classes)


def test_what_changes_it():
    x, labels = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32), np.arange(200, dtype=np.int32) % 2
    first = fingerprint(points(x, labels))
    assert first["count"] == 200 and first["shape"] == [2] and first["class_names"] == ["a", "b"]
    assert json.loads(json.dumps(first)) == first == fingerprint(points(x.copy(), labels))
    for changed, keys in (
        (points(x[:-1], labels[:-1]), {"count", "sample"}),
        (points(-x, labels), {"sample"}),
        (points(x, 1 - labels), {"sample"}),
        (points(np.tile(x, 2), labels), {"shape", "sample"}),
        (points(x), {"class_names", "sample"}),
    ):
        assert {line.split(":")[0] for line in differences(first, fingerprint(changed))} == keys
    assert "count: 200 -> 199" in differences(first, fingerprint(points(x[:-1], labels[:-1])))


def test_decoded_on_demand_or_in_memory_it_is_the_same(tmp_path):
    fill(tmp_path, {"train/a": 30, "train/b": 50, "test/a": 1})
    opened = folder.open_folder("train", path=str(tmp_path))
    first = fingerprint(source.load(opened))
    assert first == fingerprint(source.Reader(opened)) and first["files"] == opened.files_digest
    (tmp_path / "train" / "a" / "000.png").rename(tmp_path / "train" / "a" / "0000.png")
    renamed = fingerprint(source.Reader(folder.open_folder("train", path=str(tmp_path))))
    assert [line.split(":")[0] for line in differences(first, renamed)] == ["files"]
