"""NumPy files as datasets."""

import numpy as np
import pytest

from diffax.data import columns, files

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
    with pytest.raises(ValueError, match="is neither a file nor a sample set"):
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


def splits(path):
    return [files.load_arrays(split, path=str(path)) for split in ("train", "test")]


def test_further_arrays_are_columns(tmp_path):
    """Of images and of points: vectors, sequences with a mask, texts; what has another shape is ignored."""
    vectors, cube = RNG.normal(size=(100, 3)), RNG.normal(size=(100, 4, 2)).astype(np.float32)
    mask = np.arange(4) < np.arange(100)[:, None] % 5
    ignored = {"score": vectors[:, 0], "codes": np.zeros((7, 3)), "num_levels": np.array(256), "hyper": cube[..., None]}
    further = dict(text=vectors, tokens=cube, tokens_mask=mask, caption=np.array([f"a {i}" for i in range(100)]))
    further |= dict(words=np.array([["p", "q"]] * 100), whole=cube) | ignored
    for name, examples in (("images", IMAGES), ("points", RNG.normal(size=(100, 2)))):
        np.savez(tmp_path / f"{name}.npz", x=examples, labels=LABELS, **further)
        train, test = splits(tmp_path / f"{name}.npz")
        assert list(test.columns) == list(train.columns) == ["text", "tokens", "caption", "words", "whole"]
        np.testing.assert_array_equal(test.columns["text"], vectors[[49, 99]].astype(np.float32))
        assert len(train.columns["text"]) == 98
        assert test.columns["caption"] == [("a 49",), ("a 99",)] and test.columns["words"][0] == ("p", "q")
        for cell, row in zip(test.columns["tokens"], (49, 99), strict=True):
            np.testing.assert_array_equal(cell, cube[row][: row % 5])
        assert [cell is None for cell in train.columns["tokens"][:6]] == [True, False, False, False, False, True]
        np.testing.assert_array_equal(np.stack(test.columns["whole"]), cube[[49, 99]])
    assert columns.described(test)[1] == "tokens: sequences of 4 vectors of 2"


@pytest.mark.parametrize("named", ["{}_{}", "{1}_{0}"])
def test_columns_of_the_splits_of_an_archive(tmp_path, named):
    arrays = {}
    for split, rows in (("train", slice(0, 5)), ("test", slice(5, 7))):
        made = {"images": IMAGES[rows], "labels": LABELS[rows], "text": np.arange(14.0).reshape(7, 2)[rows]}
        made["text_mask"] = np.array([1, 1, 0, 1, 1, 0, 1])[rows]  # as integers
        arrays |= {named.format(split, name): array for name, array in made.items()}
    np.savez(tmp_path / "a.npz", **arrays, text=np.zeros((5, 9)))
    train, test = splits(tmp_path / "a.npz")
    assert list(train.columns) == list(test.columns) == ["text"]
    assert [None if v is None else v.tolist() for v in train.columns["text"]] == [[0, 1], [2, 3], None, [6, 7], [8, 9]]
    assert test.columns["text"][0] is None and test.columns["text"][1].tolist() == [12, 13]


def test_bad_columns_are_refused_when_they_are_looked_up(tmp_path):
    nan, mask = np.zeros((100, 2)), np.zeros((100, 3), bool)
    nan[51, 1] = np.nan
    np.savez(tmp_path / "a.npz", x=IMAGES, nan=nan, tokens=np.zeros((100, 4, 2)), tokens_mask=mask)
    train, _ = splits(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="a: column nan, row 51: expected finite numbers, got nan at position 1"):
        train.columns["nan"]
    with pytest.raises(
        ValueError, match=r"^a: tokens_mask: expected booleans of shape \(100, 4\), .* got bool of .*, 3\)$"
    ):
        train.columns["tokens"]
