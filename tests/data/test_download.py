"""Downloads from a server that fails in every way."""

import dataclasses
import errno
import pathlib
import shutil

import numpy as np
import pytest

from diffax.data import download
from tests.data import archives

CONTENT = np.random.default_rng(0).bytes(3_000_000)


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "data.bin").write_bytes(CONTENT)
    with archives.serving(folder) as server:
        yield server


def remote_file(server):
    return archives.remote(server.url, server.folder / "data.bin")


def test_a_file_is_fetched_once(server, tmp_path):
    reports = []
    path = download.fetch(remote_file(server), tmp_path / "to", report=lambda have, size: reports.append((have, size)))
    assert path.read_bytes() == CONTENT and reports[-1] == (len(CONTENT), len(CONTENT))
    assert download.fetch(remote_file(server), tmp_path / "to") == path and server.sent == len(CONTENT)
    assert [entry.name for entry in (tmp_path / "to").iterdir()] == ["data.bin"]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on_or_begins_again(server, tmp_path, ranges):
    server.stop_after = 1_500_000
    with pytest.raises(ValueError, match="the same command goes on"):
        download.fetch(remote_file(server), tmp_path / "to")
    assert not (tmp_path / "to" / "data.bin").exists()
    kept = (tmp_path / "to" / "data.bin.partial").stat().st_size
    assert 0 < kept <= 1_500_000
    server.stop_after, server.ranges, server.sent = None, ranges, 0
    assert download.fetch(remote_file(server), tmp_path / "to").read_bytes() == CONTENT
    assert server.sent == (len(CONTENT) - kept if ranges else len(CONTENT))
    assert not (tmp_path / "to" / "data.bin.partial").exists()


def test_another_file_of_the_same_size_is_refused_and_not_kept(server, tmp_path):
    remote = remote_file(server)
    (server.folder / "data.bin").write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    with pytest.raises(ValueError, match=f"expected SHA-256 {remote.sha256}, got"):
        download.fetch(remote, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_a_longer_file_is_refused(server, tmp_path):
    with pytest.raises(ValueError, match=r"expected 1,000 bytes.*got 1,048,576|expected 1,000 bytes"):
        download.fetch(dataclasses.replace(remote_file(server), size=1000), tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_a_damaged_file_that_was_there_is_named(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(CONTENT[:100])
    with pytest.raises(ValueError, match=r"data\.bin: expected 3,000,000 bytes, .* got 100"):
        download.fetch(remote_file(server), tmp_path)


def test_without_a_network_there_is_one_line(tmp_path):
    remote = download.Remote("http://127.0.0.1:9/data.bin", 100, "0" * 64)
    with pytest.raises(ValueError, match=r"http://127.0.0.1:9/data.bin cannot be downloaded .*refused.*local copy"):
        download.fetch(remote, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_the_server_does_not_have(server, tmp_path):
    (server.folder / "other").mkdir()
    remote = download.Remote(f"{server.url}/data.bin", 10, "0" * 64)
    (server.folder / "data.bin").unlink()
    with pytest.raises(ValueError, match=r"cannot be downloaded|the connection broke"):
        download.fetch(remote, tmp_path / "to")


def test_a_disk_without_space_is_seen_before(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ValueError, match="needs 3,000,000 bytes, and 1,000 are free"):
        download.fetch(remote_file(server), tmp_path)
    assert server.sent == 0


def test_a_disk_that_fills_up_is_left_as_it_was(server, tmp_path, monkeypatch):
    def full(remote, partial: pathlib.Path, report):
        partial.write_bytes(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_continue", full)
    with pytest.raises(ValueError, match="the disk is full"):
        download.fetch(remote_file(server), tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []
