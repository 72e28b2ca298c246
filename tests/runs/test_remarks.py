import numpy as np

from diffax.data.dataset import Dataset
from diffax.runs import remarks


def points(examples, **changes):
    return Dataset(name="points", examples=examples, **changes)


def test_examples_in_both_splits_are_counted():
    x = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
    assert remarks.num_shared(points(x[:900]), points(x[900:])) == (100, 0)
    assert remarks.num_shared(points(x[:900]), points(x[890:])) == (110, 10)
    assert remarks.num_shared(points(x), points(x)) == (256, 256)
    said = "10 of 110 held-out examples looked at are also among the training examples"
    assert remarks.on(points(x[:900]), points(x[890:])) == [said]


def test_every_line_is_there_once():
    x, labels = np.arange(24, dtype=np.float32).reshape(12, 2), np.arange(12, dtype=np.int32)
    names = tuple(f"class{k}" for k in range(12))
    train = points(x, labels=labels, num_classes=12, class_names=names, notes=("a note", "a\nbreak"), num_replaced=2)
    assert remarks.on(train, points(-1 - x, notes=("a note",))) == [
        "a note",
        "a\\nbreak",
        "points: 2 examples could not be read; the next good one stands in",
        "classes: class0, class1, class2, class3, class4, class5, class6, class7, class8, class9 and 2 more",
    ]
