"""Columns of Hugging Face data sets: which there are, what they hold, and that only those asked for are read."""

import json
import pickle

import numpy as np
import pytest

from diffax.data import arrow_columns, columns, huggingface, source
from tests.data.test_huggingface import IMAGES, encoded, opened, put, table

pyarrow = pytest.importorskip("pyarrow")
datasets = pytest.importorskip("datasets")

VECTORS = np.random.default_rng(1).normal(size=(60, 3)).astype(np.float32)


def rows(num=60, **further):
    whole = table(range(num), [0] * num)
    for name, cells in further.items():
        whole = whole.append_column(name, cells if isinstance(cells, pyarrow.ChunkedArray) else pyarrow.array(cells))
    return whole


def test_columns_of_parquet(tmp_path):
    made = {
        "caption": [f"picture {i}" if i % 7 else None for i in range(60)],
        "wordings": [["a", "b"], [], None] * 20,
        "vector": pyarrow.FixedSizeListArray.from_arrays(VECTORS.ravel(), 3),
        "listed": VECTORS.astype(np.float64).tolist(),
        "integers": [[i, 1] if i % 2 else None for i in range(60)],
        "tokens": [[VECTORS[i].tolist()] * (i % 3) for i in range(60)],
        "score": [0.5] * 60,
        "box": [{"x": 1}] * 60,
        "deep": [[[[1.0]]]] * 60,
    }
    train, test = opened(put(tmp_path / "one.parquet", rows(**made)))
    assert list(train.columns) == ["caption", "wordings", "vector", "listed", "integers", "tokens"]
    kept = np.delete(np.arange(60), 49)
    assert test.columns["caption"] == [()]
    assert train.columns["caption"] == [(f"picture {i}",) if i % 7 else () for i in kept]
    assert train.columns["wordings"][:4] == [("a", "b"), (), (), ("a", "b")]
    for name in ("vector", "listed"):
        np.testing.assert_array_equal(train.columns[name], VECTORS[kept])
        np.testing.assert_array_equal(test.columns[name], VECTORS[[49]])
    assert [None if v is None else v.tolist() for v in train.columns["integers"][:4]] == [None, [1, 1], None, [3, 1]]
    for cell, row in zip(train.columns["tokens"], kept, strict=True):
        assert (cell is None) == (row % 3 == 0)
        if cell is not None:
            np.testing.assert_array_equal(cell, np.tile(VECTORS[row], (row % 3, 1)))
    assert columns.described(test)[1:3] == ["wordings: no example has one", "vector: vectors of 3"]


def test_only_the_column_asked_for_is_read(tmp_path, monkeypatch):
    path = put(
        tmp_path / "one.parquet", rows(caption=["a"] * 60, vector=VECTORS.tolist(), ragged=[[1.0], [1.0, 2.0]] * 30)
    )
    read, counted = arrow_columns.ArrowColumns.__getitem__, []
    monkeypatch.setattr(
        arrow_columns.ArrowColumns, "__getitem__", lambda self, name: counted.append(name) or read(self, name)
    )
    train = opened(path)[0]
    reader, loaded = source.Reader(train).validate(), source.load(train)
    assert counted == [] and "vector" in loaded.columns and list(reader.columns) == ["caption", "vector", "ragged"]
    assert counted == []
    assert loaded.columns["caption"] == reader.columns["caption"] == [("a",)] * 59 and counted == ["caption"] * 2
    with pytest.raises(
        ValueError, match=r"one.parquet/train: column ragged, row 1: expected a vector of 1 numbers as in row 0"
    ):
        loaded.columns["ragged"]
    assert pickle.loads(pickle.dumps(train)).columns["vector"].shape == (59, 3)


def test_shards_of_other_sizes_nulls_and_slices(tmp_path):
    """Each shard is a chunk of its own: they join to what one list of all cells is."""
    cells = [[1.0, 2.0], [3.0, 4.0], None, [], [5.0, 6.0], [7.0, 8.0]]
    sequences = [[[1.0, 2.0]], [], [[3.0, 4.0], [5.0, 6.0]], None, [[7.0, 8.0]], [[9.0, 9.0]]]
    for index, part in enumerate((slice(0, 2), slice(2, 3), slice(3, 6))):
        made = table(range(6)[part]).append_column("v", pyarrow.array(cells[part], pyarrow.list_(pyarrow.float32())))
        nested = pyarrow.array(sequences[part], pyarrow.list_(pyarrow.list_(pyarrow.float32())))
        put(tmp_path / f"train-{index}.parquet", made.append_column("t", nested))
    put(
        tmp_path / "test-0.parquet",
        table([0]).append_column("v", pyarrow.array([[1.0]])).append_column("t", pyarrow.array([[[1.0]]])),
    )
    train = opened(tmp_path)[0]
    lists = [None if cell is None else cell.tolist() for cell in train.columns["v"]]
    assert lists == [cell or None for cell in cells]
    assert [None if cell is None else cell.tolist() for cell in train.columns["t"]] == [
        cell or None for cell in sequences
    ]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([[1.0, None]], r"column c, row 0: expected finite numbers, got nan at position 1"),
        ([[[1.0], [1.0, 2.0]]], r"column c, row 0: expected vectors of one size, got 1 and 2"),
        ([[[1.0]], [[2.0], [float("inf")]]], r"column c, row 1: expected finite numbers, got inf at position \(1, 0\)"),
        (
            [[[1.0]], [[2.0, 3.0]]],
            r"column c, row 1: expected a sequence of vectors of 1 numbers as in row 0, got .* 2",
        ),
    ],
)
def test_what_is_wrong_is_said(cells, message):
    whole = datasets.Dataset(pyarrow.table({"c": cells}))
    raw = arrow_columns.ArrowColumns.of(whole, without=(None,))
    with pytest.raises(ValueError, match=message):
        columns.Columns("set", raw, len(cells))["c"]


def test_features_that_datasets_wrote():
    features = datasets.Features(
        {
            "v": datasets.Sequence(datasets.Value("float32"), length=3),
            "m": datasets.Array2D((2, 3), "float32"),
            "kind": datasets.ClassLabel(names=["a"]),
            "kinds": datasets.Sequence(datasets.ClassLabel(names=["a"])),
        }
    )
    made = {"v": VECTORS[:4].tolist(), "m": VECTORS[:8].reshape(4, 2, 3).tolist(), "kind": [0] * 4, "kinds": [[0]] * 4}
    whole = datasets.Dataset.from_dict(made, features=features)
    raw = arrow_columns.ArrowColumns.of(whole.select([3, 1]), without=())
    found = columns.Columns("set", raw, 2)
    assert list(found) == ["v", "m"]
    np.testing.assert_array_equal(found["v"], VECTORS[[3, 1]])
    np.testing.assert_array_equal(np.stack(found["m"]), VECTORS[:8].reshape(4, 2, 3)[[3, 1]])


def test_captions_of_an_image_folder_that_datasets_reads(tmp_path):
    (tmp_path / "train").mkdir()
    for index in range(60):
        (tmp_path / "train" / f"{index:02d}.png").write_bytes(encoded(IMAGES[index]))
    lines = [json.dumps({"file_name": f"{index:02d}.png", "text": f"picture {index}"}) for index in range(60)]
    (tmp_path / "train" / "metadata.jsonl").write_text("\n".join(lines))
    assert opened(tmp_path)[1].columns["text"] == [("picture 49",)]


def test_a_corrupt_image_and_chosen_columns(tmp_path):
    cells = [{"bytes": content, "path": None} for content in (b"junk", encoded(IMAGES[1]))]
    put(tmp_path / "train.parquet", pyarrow.table({"image": cells, "caption": ["x", "y"], "label": ["p", "q"]}))
    put(tmp_path / "test.parquet", pyarrow.table({"image": cells[1:], "caption": ["z"], "label": ["q"]}))
    assert source.load(opened(tmp_path)[0], skip=True).columns["caption"] == [("y",), ("y",)]
    unlabelled = huggingface.open_huggingface("train", path=str(tmp_path), label_column="")
    assert list(unlabelled.columns) == ["caption", "label"] and unlabelled.columns["label"] == [("p",), ("q",)]
