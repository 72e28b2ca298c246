"""Data sets as they are found: loaded rightly, or refused in one line."""

import numpy as np
import pytest

from diffax import build_data
from tests.data import found

pytest.importorskip("datasets")


@pytest.mark.parametrize("name", found.FOUND)
def test_it_loads_or_is_refused_in_one_line(name, tmp_path):
    write, expected = found.FOUND[name]
    made = found.settings(write, tmp_path)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected) as error:
            build_data.splits(made)
        assert "\n" not in str(error.value)
        return
    train, held_out = build_data.splits(made)
    assert (len(train), len(held_out)) == (expected.train, expected.held_out)
    assert train.class_names == held_out.class_names == expected.classes
    assert train.shape == held_out.shape == expected.shape
    assert expected.note in "; ".join(train.notes)
    for examples in (train, held_out):
        x = examples.to_network_range(examples.batch(np.arange(len(examples)))["x"])
        assert x.dtype == np.float32 and -1 <= x.min() < x.max() <= 1


def test_there_are_many():
    assert len(found.FOUND) >= 40
