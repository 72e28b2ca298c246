"""Weight files are read without running what is in them; what is wrong with one is said in a line.

zipped.pth and old_layout.pth were written by torch 2.13.0's torch.save of one OrderedDict with `_metadata`, the latter
with _use_new_zipfile_serialization=False: base = arange(12).reshape(3, 4) as `matrix`, base.T as `transposed` and
base[1:, 1:3] as `part`, which share its storage, and the others of EXPECTED, `parameter` as a torch.nn.Parameter.
"""

import io
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from diffax.data import download
from diffax.evaluation.features import torch_files, weights

FOLDER = pathlib.Path(__file__).parent
BASE = np.arange(12, dtype=np.float32).reshape(3, 4)
EXPECTED = {
    "matrix": BASE,
    "transposed": BASE.T,
    "part": BASE[1:, 1:3],
    "half": np.array([0.5, -2], np.float32),  # float16 in the file
    "brain": np.array([1.5, 3], np.float32),  # bfloat16 in the file
    "count": np.array(7, np.int64),
    "flags": np.array([True, False]),
    "double": np.array([1 / 3]),
    "parameter": np.array([[2.5]], np.float32),
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("name", ["zipped.pth", "old_layout.pth"])
def test_a_file_of_torch_is_read(name):
    state = weights.read(FOLDER / name)
    assert list(state) == list(EXPECTED)
    for key, value in EXPECTED.items():
        assert state[key].dtype == value.dtype and state[key].shape == value.shape
        np.testing.assert_array_equal(state[key], value)


def test_safetensors_are_read(tmp_path):
    state = {key: np.ascontiguousarray(value) for key, value in EXPECTED.items()}
    safetensors.numpy.save_file(state | {"half": state["half"].astype(np.float16)}, tmp_path / "a.safetensors")
    read = weights.read(tmp_path / "a.safetensors")
    assert read.keys() == state.keys()
    for key, value in state.items():
        assert read[key].dtype == value.dtype
        np.testing.assert_array_equal(read[key], value)


class Code:
    """What runs a command when it is unpickled."""

    def __init__(self, path):
        self.command = f"touch {path}"

    def __reduce__(self):
        return os.system, (self.command,)


def zipped(path: pathlib.Path, content: object, **files: bytes) -> pathlib.Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, 2))
        for name, value in files.items():
            archive.writestr(f"archive/{name}", value)
    return path


def old(path: pathlib.Path, content: object) -> pathlib.Path:
    parts = [pickle.dumps(part, 2) for part in (1001, {"little_endian": True}, content, [])]
    path.write_bytes(torch_files.OLD_MAGIC + b"".join(parts))
    return path


@pytest.mark.parametrize("write", [zipped, old])
def test_a_pth_file_with_code_in_it_is_refused_and_runs_nothing(tmp_path, write):
    path = write(tmp_path / "evil.pth", {"weight": Code(tmp_path / "ran")})
    with pytest.raises(ValueError, match=r"evil\.pth: refused, because it holds (posix|nt)\.system, and only tensors"):
        weights.read(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["builtins.eval", "torch.load", "diffax.devices.configure", "numpy.frombuffer"])
def test_every_name_beyond_tensors_is_refused(tmp_path, name):
    module, _, attribute = name.rpartition(".")
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/data.pkl", f"c{module}\n{attribute}\n(tR.".encode())
    with pytest.raises(ValueError, match=rf"a\.pth: refused, because it holds {name}"):
        weights.read(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["zipped.pth", "old_layout.pth"])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, name):
    content = (FOLDER / name).read_bytes()
    for length in [*range(1, len(content), 199), len(content) - 1]:
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(ValueError, match=name) as error:
            weights.read(tmp_path / name)
        assert "\n" not in str(error.value)


def test_damaged_bytes_raise_one_line_or_nothing(tmp_path):
    content = bytearray((FOLDER / "old_layout.pth").read_bytes())
    rng = np.random.default_rng(0)
    for position in rng.integers(15, len(content), 60):
        damaged = content.copy()
        damaged[position] ^= 1 << int(rng.integers(8))
        (tmp_path / "a.pth").write_bytes(damaged)
        try:
            weights.read(tmp_path / "a.pth")
        except ValueError as error:
            assert "a.pth: " in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    ("offset", "size", "stride", "message"),
    [
        (0, (2, 3), (3, 1), "ends at value 6 of 4"),
        (3, (2,), (1,), "ends at value 5 of 4"),
        (0, (1000, 1000, 1000), (0, 0, 0), "does not fit its 4"),
        (-1, (2,), (1,), "does not fit"),
        (0, (-2,), (1,), "does not fit"),
    ],
)
def test_a_tensor_reads_nothing_beyond_its_storage(offset, size, stride, message):
    storage = torch_files._Storage(np.float32, 4, np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="does not fit" if np.prod(size) > 4 else message):
        torch_files._Tensor(storage, offset, size, stride).array()


def test_what_is_no_file_of_weights_is_refused(tmp_path):
    (tmp_path / "text.pth").write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=r"text\.pth: expected a \.pth or \.pt file of PyTorch"):
        weights.read(tmp_path / "text.pth")
    with pytest.raises(ValueError, match=r"none\.pth: expected a file of weights"):
        weights.read(tmp_path / "none.pth")
    (tmp_path / "a.safetensors").write_bytes(b'\x08\0\0\0\0\0\0\0{"a": 1')
    with pytest.raises(ValueError, match=r"a\.safetensors: truncated or damaged") as error:
        weights.read(tmp_path / "a.safetensors")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"expected tensors by name .*, got 'epoch', which is no tensor"):
        weights.read(zipped(tmp_path / "a.pth", {"epoch": 3}))
    with pytest.raises(ValueError, match="got a list"):
        weights.read(zipped(tmp_path / "b.pth", [1, 2]))
    with pytest.raises(ValueError, match="a zip file with a program"):
        weights.read(zipped(tmp_path / "script.pt", {}, **{"code/a.py": b"1"}))
    with pytest.raises(ValueError, match="little-endian"):
        weights.read(zipped(tmp_path / "big.pt", {}, byteorder=b"big"))


def test_a_state_dict_may_lie_in_a_dictionary(tmp_path):
    assert weights.read(zipped(tmp_path / "a.pth", {"state_dict": {}, "epoch": 3})) == {}


def test_wrong_tensors_are_named():
    shapes = {"a.weight": (2, 3), "a.bias": (2,)}
    state = {"a.weight": np.zeros((2, 3)), "a.bias": np.zeros(2), "a.count": np.zeros(())}
    kept = weights.selected(state, shapes, "file.pth", ignored=r".*\.count")
    assert list(kept) == ["a.weight", "a.bias"]
    for changed, message in [
        ({"a.weight": state["a.weight"]}, r"^file\.pth: expected the 2 tensors of the network, got no 'a\.bias'$"),
        ({}, r"got no 'a\.weight' \(and 1 more\)$"),
        (state | {"b.bias": np.zeros(2)}, r"got an unknown 'b\.bias'$"),
        (state | {"a.weight": np.zeros((3, 2))}, r"expected 'a\.weight' of shape \(2, 3\), got \(3, 2\)$"),
        (state | {"a.bias": np.array([0, np.nan])}, r"'a\.bias' has values that are not finite$"),
    ]:
        with pytest.raises(ValueError, match=message):
            weights.selected(changed, shapes, "file.pth", ignored=r".*\.count")


def test_checksums(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert weights.checksum(tmp_path / "abc") == known
    a, b = np.arange(3.0), np.arange(3)
    assert weights.checksum_of({"x": a, "y": b}) == weights.checksum_of({"y": b, "x": a})
    others = [
        {"x": a},
        {"x": a, "z": b},
        {"x": a, "y": b + 1},
        {"x": a, "y": b[None]},
        {"x": a, "y": b.astype("int32")},
    ]
    assert len({weights.checksum_of(each) for each in [{"x": a, "y": b}, *others]}) == 6


def test_weights_are_downloaded_once_and_verified(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "net.pth"
    source.write_bytes((FOLDER / "zipped.pth").read_bytes())
    remote = download.Remote(source.as_uri(), source.stat().st_size, weights.checksum(source))
    path = weights.downloaded(remote)
    assert path == tmp_path / "cache" / "diffax" / "weights" / "net.pth"
    source.unlink()
    assert weights.downloaded(remote) == path
    np.testing.assert_array_equal(weights.read(path)["matrix"], BASE)
    path.unlink()
    with pytest.raises(ValueError, match=r"cannot be downloaded .* Or name a local copy"):
        weights.downloaded(remote)
    source.write_bytes(io.BytesIO(b"x" * remote.size).getvalue())
    with pytest.raises(ValueError, match="expected SHA-256"):
        weights.downloaded(remote)
    assert not path.exists()
