"""Examples with conditions: their values by example, on the host and on the device, with some missing."""

import dataclasses
import itertools
import pickle
from typing import ClassVar

import jax
import numpy as np
import pytest

from diffax.conditions import Classes, Tokens, TokenSequence, Vector
from diffax.data import conditioned, device_dataset, fingerprint, pipeline
from diffax.data.conditioned import Alternatives, Column, Conditioned
from diffax.data.examples import Examples
from tests import told


def examples():
    plain = told.points("train")
    captions = plain.columns["caption"]
    texts = dict.fromkeys(wording for row in captions for wording in row)
    numbers = {wording: number for number, wording in enumerate(texts)}
    values = np.arange(2.0 * len(texts), dtype=np.float32).reshape(-1, 2)
    stored = {
        "place": conditioned.of_vectors(plain.columns["place"]),
        "path": conditioned.of_sequences(plain.columns["path"]),
        "text": Column.of(Vector(2), values, [[numbers[wording] for wording in row] for row in captions]),
    }
    return Conditioned(plain, stored, ("label",)), values, numbers


def test_the_values_are_those_of_the_examples():
    data, values, numbers = examples()
    assert isinstance(data, Examples) and len(data) == told.NUM and data.shape == (2,)
    assert data.kinds == {"label": Classes(3), "place": Vector(2), "path": Tokens(3), "text": Vector(2)}
    rows = np.array([7, 5, 2, 4, 7])
    batch = data.batch(rows)
    np.testing.assert_array_equal(batch["x"], data.plain.examples[rows])
    np.testing.assert_array_equal(batch["label"], [1, 2, 2, 1, 1])
    np.testing.assert_array_equal(batch["place"][0], data.plain.columns["place"][7])
    np.testing.assert_array_equal(batch["place"][1], [0, 0])  # it has none
    np.testing.assert_array_equal(batch["path"].mask.sum(1), [4, 2, 0, 1, 4])
    np.testing.assert_array_equal(batch["path"].vectors[0], data.plain.columns["path"][7])
    np.testing.assert_array_equal(batch["text"].count, [2, 3, 3, 1, 2])
    expected = [values[numbers[wording]] for wording in data.plain.columns["caption"][7]]
    np.testing.assert_array_equal(batch["text"].values[0, :2], expected)
    np.testing.assert_array_equal(batch["text"].values[3, 0], [0, 0])
    assert list(data.notes) == [f"1 of 30 have no {name}: null there" for name in ("place", "path", "text")]
    again = pickle.loads(pickle.dumps(data)).batch(rows)
    jax.tree.map(np.testing.assert_array_equal, again, batch)


@pytest.mark.parametrize("start", [0, 5])
def test_the_device_gives_the_bytes_of_the_host(start):
    data, *_ = examples()
    host = pipeline.Pipeline(data, 8, seed=3)
    gather = jax.jit(lambda on_device, step: on_device.batch(step))
    for step, on_device in zip(range(start, start + 12), device_dataset.batches(data, 8, 3, start), strict=False):
        gathered, expected = gather(on_device, step), host.batch(step)
        jax.tree.map(np.testing.assert_array_equal, gathered, expected)
        assert jax.tree.map(lambda leaf: leaf.dtype, gathered) == jax.tree.map(lambda leaf: leaf.dtype, expected)


def test_each_wording_is_as_likely_and_chosen_by_the_examples_own_key():
    values = np.arange(6, dtype=np.float32).reshape(2, 3, 1)
    value = Alternatives(np.repeat(values, 2000, 0), np.repeat([3, 2], 2000))
    keys = jax.random.split(jax.random.key(0), 4000)
    got = np.asarray(conditioned.chosen(keys, value))[:, 0]
    for half, expected in ((got[:2000], (0, 1, 2)), (got[2000:], (3, 4))):
        shares = [(half == number).mean() for number in expected]
        assert sum(shares) == 1 and np.abs(np.array(shares) - 1 / len(expected)).max() < 0.05  # five standard errors
    np.testing.assert_array_equal(
        conditioned.chosen(keys[17:18], jax.tree.map(lambda leaf: leaf[17:18], value))[:, 0], got[17]
    )
    plain = np.ones((4000, 2))
    assert conditioned.chosen(keys, plain) is plain
    np.testing.assert_array_equal(conditioned.first(value)[:, 0], np.repeat([0, 3], 2000))
    assert conditioned.first(plain) is plain


def test_data_without_labels():
    plain = told.images("train")
    data = Conditioned(plain, {"place": conditioned.of_vectors(plain.columns["place"])})
    assert set(data.batch(np.arange(3))) == {"x", "place"} and data.kinds == {"place": Vector(2)}


def test_a_column_of_another_length_is_refused():
    data, *_ = examples()
    short = dataclasses.replace(data.stored["place"], rows=data.stored["place"].rows[1:])
    with pytest.raises(ValueError, match="told/train: expected 30 values of place, got 29"):
        dataclasses.replace(data, stored={"place": short}).validate()


def test_the_value_follows_the_image_that_stands_in_for_a_corrupt_one():
    data, *_ = examples()

    class Replacing:
        replacements: ClassVar[dict] = {7: 8}

        def __getattr__(self, name):
            return getattr(data.plain, name)

    batch = Conditioned(Replacing(), data.stored).batch(np.array([7, 9]))
    np.testing.assert_array_equal(batch["place"][0], data.plain.columns["place"][8])
    np.testing.assert_array_equal(batch["place"][1], data.plain.columns["place"][9])


def test_other_values_are_other_data():
    data, *_ = examples()
    before = fingerprint.fingerprint(data)
    assert set(before["conditions"]) == {"place", "path", "text"}
    table = data.stored["text"].table.copy()
    table[3] += 1
    changed = data.stored | {"text": dataclasses.replace(data.stored["text"], table=table)}
    after = fingerprint.fingerprint(dataclasses.replace(data, stored=changed))
    assert [line.split(":")[0] for line in fingerprint.differences(before, after)] in (
        ["conditions"],
        ["sample", "conditions"],
    )
    assert "conditions" not in fingerprint.fingerprint(data.plain)


def test_padding_of_sequences():
    tokens = conditioned.as_tokens([np.ones((2, 3)), np.zeros((0, 3))], length=4)
    assert isinstance(tokens, TokenSequence) and tokens.vectors.shape == (2, 4, 3)
    np.testing.assert_array_equal(tokens.mask, [[True, True, False, False], [False] * 4])
    cut = conditioned.of_sequences([np.ones((5, 3), np.float32), None], most=2)
    assert cut.table.vectors.shape == (2, 2, 3) and list(itertools.chain(*cut.rows)) == [0, 1]
