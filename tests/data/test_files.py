"""NumPy and Parquet files as datasets."""

import io

import numpy as np
import pytest
from PIL import Image

from diffax.data import files, parquet, source

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (100, 6, 5, 3), dtype=np.uint8), RNG.integers(0, 3, 100)


def test_an_npz_of_images_and_labels(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    train, test = (files.load_arrays(split, path=str(tmp_path / "a.npz")) for split in ("train", "test"))
    np.testing.assert_array_equal(test.examples, IMAGES[[49, 99]])
    np.testing.assert_array_equal(test.labels, LABELS[[49, 99]])
    assert len(train) == 98 and train.num_classes == 3 and train.num_levels == 256


def test_an_npy_of_grey_images_and_one_of_points(tmp_path):
    np.save(tmp_path / "grey.npy", IMAGES[..., 0])
    assert files.load_arrays("train", path=str(tmp_path / "grey.npy")).shape == (6, 5, 1)
    np.save(tmp_path / "points.npy", RNG.normal(size=(60, 2)))
    points = files.load_arrays("train", path=str(tmp_path / "points.npy"))
    assert points.examples.dtype == np.float32 and points.num_levels is None


def test_a_path_may_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "a.npz", images=IMAGES)
    assert len(files.load_arrays("test", path="~/a.npz")) == 2


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_pickles_are_refused_and_not_run(tmp_path, capsys):
    np.save(tmp_path / "evil.npy", np.array([Evil()], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"evil.npy: not a .npy or .npz file of plain arrays"):
        files.load_arrays("train", path=str(tmp_path / "evil.npy"))
    assert "run" not in capsys.readouterr().out


def test_bad_arrays(tmp_path):
    with pytest.raises(ValueError, match=r"data\.name = 'arrays' needs data\.path"):
        files.load_arrays("train")
    with pytest.raises(ValueError, match="is not a file"):
        files.load_arrays("train", path=str(tmp_path / "no.npy"))
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"not a \.npy or \.npz file"):
        files.load_arrays("train", path=str(tmp_path / "text.npz"))
    np.savez(tmp_path / "names.npz", pictures=IMAGES)
    with pytest.raises(ValueError, match=r"expected an array named images, .* got pictures"):
        files.load_arrays("train", path=str(tmp_path / "names.npz"))
    np.savez(tmp_path / "labels.npz", images=IMAGES, labels=LABELS / 2)
    with pytest.raises(ValueError, match="labels must be integers"):
        files.load_arrays("train", path=str(tmp_path / "labels.npz"))


def encoded(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.fixture
def table(tmp_path):
    """Writes a Parquet file as Hugging Face's datasets have them."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as writer

    def write(name, cells, labels=None, column="image"):
        columns = {column: cells} | ({} if labels is None else {"label": labels})
        writer.write_table(pyarrow.table(columns), tmp_path / name)
        return tmp_path / name

    return write


def test_parquet_files_of_a_split(table, tmp_path):
    cells = [{"bytes": encoded(x), "path": None} for x in IMAGES[:4]]
    table("train-00000-of-00002.parquet", cells[:2], [0, 1])
    table("train-00001-of-00002.parquet", cells[2:], [2, 0])
    table("test-00000-of-00001.parquet", cells[:1], [1])
    loaded = source.load(parquet.open_parquet("train", path=str(tmp_path)))
    np.testing.assert_array_equal(loaded.examples, IMAGES[:4])
    assert loaded.labels.tolist() == [0, 1, 2, 0] and loaded.num_classes == 3
    assert len(parquet.open_parquet("test", path=str(tmp_path))) == 1


def test_a_parquet_file_of_plain_bytes_with_a_corrupt_row(table):
    path = table("a.parquet", [encoded(IMAGES[0]), b"junk", encoded(IMAGES[2])], column="img")
    opened = parquet.open_parquet("train", path=str(path))
    with pytest.raises(source.CorruptExample, match=r"a.parquet, row 1: unreadable image"):
        source.load(opened)
    loaded = source.load(opened, skip=True)
    np.testing.assert_array_equal(loaded.examples[1], IMAGES[2])
    assert loaded.labels is None and loaded.num_replaced == 1


def test_bad_parquet_files(table, tmp_path):
    with pytest.raises(ValueError, match=r"data\.name = 'parquet' needs data\.path"):
        parquet.open_parquet("train")
    (tmp_path / "text.parquet").write_text("hello")
    for path, message in (
        (tmp_path / "text.parquet", "cannot be read as a Parquet file"),
        (table("a.parquet", [1, 2], column="number"), "expected a column image or img or images, got number"),
        (table("b.parquet", [encoded(IMAGES[0])] * 2, [0, None]), "expected a class >= 0 for every image"),
        (tmp_path / "no", "is neither a Parquet file nor a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            parquet.open_parquet("train", path=str(path))
