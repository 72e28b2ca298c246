"""Columns by name: of datasets in memory, of sources on disk, through selection, replacement and description."""

import dataclasses
import pickle
from collections.abc import Mapping

import numpy as np
import pytest

from diffax.data import columns, dataset, examples, pipeline, source

VECTORS = np.arange(200, dtype=np.float32).reshape(100, 2)
RAW = {
    "caption": [f"number {i}" if i % 5 else "" for i in range(100)],
    "vector": VECTORS,
    "tokens": [np.full((i % 3, 4), i, np.float32) for i in range(100)],
}


def points(raw=RAW, **changes):
    fields = dict(name="toy", examples=np.arange(100, dtype=np.float32)[:, None], columns=raw)
    return dataset.Dataset(**(fields | changes))


class Counted(Mapping):
    """Raw columns that count how often each is read."""

    def __init__(self, raw):
        self.raw, self.reads = raw, []

    def __getitem__(self, name):
        self.reads.append(name)
        return self.raw[name]

    def __contains__(self, name):
        return name in self.raw

    def __iter__(self):
        return iter(self.raw)

    def __len__(self):
        return len(self.raw)


class Numbers:
    """A source of six grey images, of value 10 times their index, of which some are corrupt."""

    name, shape, class_names, notes, files_digest = "numbers", (1, 1, 1), None, (), None
    corrupt: tuple[int, ...] = ()

    def __len__(self):
        return 6

    def example(self, index):
        if index in self.corrupt:
            raise source.CorruptExample(f"{index} is corrupt")
        return source.Example(np.full((1, 1, 1), 10 * index, np.uint8), None)


def numbers(corrupt=(), **attributes):
    made = Numbers()
    vars(made).update(corrupt=corrupt, **attributes)
    return made


def test_a_dataset_has_none_unless_given_some():
    plain = points({}).validate()
    assert dict(plain.columns) == {} and columns.described(plain) == []
    assert len(plain.columns.selected(np.array([5000]))) == 0
    assert isinstance(plain, examples.Examples)


def test_raw_cells_of_a_users_dataset_are_normalised():
    data = points().validate()
    assert list(data.columns) == ["caption", "vector", "tokens"] and repr(data.columns).startswith("Columns(caption")
    assert data.columns["caption"][:2] == [(), ("number 1",)]
    np.testing.assert_array_equal(data.columns["vector"], VECTORS)
    assert data.columns["tokens"][3] is None and data.columns["tokens"][5].shape == (2, 4)
    assert "caption" in data.columns and "x" not in data.columns and data.columns.get("x") is None
    with pytest.raises(KeyError):
        data.columns["x"]


def test_splits_have_the_rows_of_their_examples():
    data = points()
    held_out = dataset.split_of(data, "test")
    assert held_out.columns["caption"] == [("number 49",), ("number 99",)]
    np.testing.assert_array_equal(held_out.columns["vector"], VECTORS[[49, 99]])
    train = dataset.split_of(data, "train").validate()
    x = train.examples[:, 0].astype(int)
    np.testing.assert_array_equal(train.columns["vector"], VECTORS[x])
    assert [cell is None for cell in train.columns["tokens"]] == (x % 3 == 0).tolist()
    twice = train.columns.selected(np.array([97, 50]))
    np.testing.assert_array_equal(twice["vector"], VECTORS[x[[97, 50]]])


def test_one_class_and_padding():
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    labels = np.array([0, 1, 0, 1], np.int32)
    raw = {"caption": ["a", "b", "c", "d"]}
    data = dataset.Dataset(name="t", examples=images, labels=labels, num_classes=2, num_levels=256, columns=raw)
    assert dataset.only(data, 1).columns["caption"] == [("b",), ("d",)]
    assert dataset.padded(dataset.only(data, 0), 1).validate().columns["caption"] == [("a",), ("c",)]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"c": ["a"] * 99}, "toy: column c: expected 100 cells, one per example, got 99"),
        ({"c": [1.5] * 100}, "toy: column c, row 0: expected a text, .* got 1.5"),
        ({"c": "text"}, "toy: column c: expected a list or array of cells, one per example, got str"),
        ({"c": iter("ab")}, "toy: column c: expected a list or array of cells, .* got str_ascii_iterator|str_iterator"),
        (
            {"c": np.where(VECTORS == 7, np.nan, VECTORS)},
            "toy: column c, row 3: expected finite .* got nan at position 1",
        ),
    ],
)
def test_validate_says_what_is_wrong(raw, message):
    with pytest.raises(ValueError, match=message) as error:
        points(raw).validate()
    assert "\n" not in str(error.value)
    assert columns.described(points(raw)) == [f"c: cannot be used ({error.value})"]


def test_rows_are_named_as_they_were_before_the_selection():
    data = points({"c": [[1.0, 2.0]] * 99 + [[1.0]]})
    with pytest.raises(
        ValueError, match=r"toy: column c, row 99: expected a vector of 2 numbers as in row 49, got .* 1"
    ):
        dataset.split_of(data, "test").columns["c"]


def test_columns_of_other_rows_are_refused():
    data = points()
    few = dataclasses.replace(data, examples=data.examples[:7])
    with pytest.raises(ValueError, match="toy: expected columns of 7 examples, got 100: select the same rows of both"):
        few.validate()


def test_a_column_is_read_when_looked_up_and_no_other():
    raw = Counted(RAW)
    train = dataset.split_of(points(raw), "train").validate()
    assert raw.reads == [] and "vector" in train.columns and len(train.columns) == 3 and list(train.columns)
    assert raw.reads == []
    train.columns["vector"]
    assert raw.reads == ["vector"]
    reader = source.Reader(numbers(columns=(counted := Counted({"c": ["a"] * 6, "d": ["b"] * 5})))).validate()
    loaded = source.load(reader.source)
    assert counted.reads == [] and loaded.columns["c"] == [("a",)] * 6 and counted.reads == ["c"]
    with pytest.raises(ValueError, match="numbers: column d: expected 6 cells, one per example, got 5"):
        loaded.columns["d"]


def test_a_source_of_ones_own_without_columns():
    made = numbers()
    assert isinstance(made, source.Source) and not hasattr(made, "columns")
    reader = source.Reader(made).validate()
    assert isinstance(reader, examples.Examples) and dict(reader.columns) == {} == dict(source.load(made).columns)
    assert reader.batch(np.array([2]))["x"].item() == 20


def test_columns_follow_the_image_that_replaces_a_corrupt_one():
    raw = {"c": [f"image {i}" for i in range(6)], "v": np.arange(6.0)[:, None]}
    made = numbers((1, 2, 5), columns=raw)
    loaded = source.load(made, skip=True)
    assert loaded.num_replaced == 3
    given = loaded.examples.ravel() // 10
    assert given.tolist() == [0, 3, 3, 3, 4, 0]
    assert loaded.columns["c"] == [(f"image {i}",) for i in given]
    np.testing.assert_array_equal(loaded.columns["v"][:, 0], given)
    reader = source.Reader(made, skip=True)
    assert reader.columns["c"][1] == ("image 1",) and reader.replacements == {}
    batch = reader.batch(np.array([1, 3, 5]))["x"].ravel()
    assert reader.replacements == {1: 3, 5: 0} and reader.corrupt == {1, 2, 5}
    assert [10 * reader.replacements.get(row, row) for row in (1, 3, 5)] == batch.tolist()
    made.corrupt = ()  # a file system that has recovered
    assert reader.batch(np.array([1]))["x"].item() == 10 and reader.replacements == {5: 0}


def test_worker_processes_get_columns():
    reader = source.Reader(numbers(columns={"c": ["a"] * 6}))
    copy = pickle.loads(pickle.dumps(reader.columns.selected(np.array([0, 3]))))
    assert copy["c"] == [("a",), ("a",)]


def test_batches_do_not_change():
    with_columns, without = (pipeline.Pipeline(points(raw), 8, seed=1).batch(3) for raw in (RAW, {}))
    assert set(with_columns) == {"x"}
    np.testing.assert_array_equal(with_columns["x"], without["x"])


def test_description():
    wordings = [["a", "b", "c"]] * 1488 + [""] * 12
    raw = {
        "caption": wordings,
        "short": ["a"] * 1499 + [None],
        "few": [["a", "b"], *["a"] * 1499],
        "embedding": np.zeros((1500, 384)),
        "sparse": [None] * 2 + [[1.0]] * 1498,
        "tokens": [np.zeros((3 + i % 15, 8)) for i in range(1500)],
        "empty": [None] * 1500,
    }
    assert columns.described(points(raw, examples=np.zeros((1500, 1), np.float32)).validate()) == [
        "caption: texts, 3 wordings each, 12 of 1,500 examples have none",
        "short: texts, 1 wording each, 1 of 1,500 examples has none",
        "few: texts, 1 to 2 wordings each",
        "embedding: vectors of 384",
        "sparse: vectors of 1, 2 of 1,500 examples have none",
        "tokens: sequences of 3 to 17 vectors of 8",
        "empty: no example has one",
    ]
