"""NumPy files as datasets."""

import numpy as np
import pytest

from diffax.data import files

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
