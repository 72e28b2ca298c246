import errno
import os
import platform
import signal
import subprocess
import sys

import pytest

from diffax.runs import UserError, lock

HOLDS = """
import pathlib, sys, time
from diffax.runs import lock
with lock.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_a_second_process_is_refused_while_the_first_lives(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    said = (
        rf"^--workdir {tmp_path} is in use by process {process.pid} on {platform.node()} since 20\d\d-.*: wait for it"
    )
    with pytest.raises(UserError, match=said) as error, lock.held(tmp_path):
        pass
    assert "\n" not in str(error.value)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / lock.FILENAME).exists()
    with lock.held(tmp_path):
        assert f"process {os.getpid()} on" in (tmp_path / lock.FILENAME).read_text()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_who_waited_for_a_file_since_removed_locks_the_new_one(tmp_path, monkeypatch):
    original, path = lock._lock, tmp_path / lock.FILENAME

    def late(file, what):
        monkeypatch.setattr(lock, "_lock", original)
        path.unlink()  # as its holder does between the opening and the locking
        original(file, what)

    monkeypatch.setattr(lock, "_lock", late)
    with lock.held(tmp_path):
        assert path.exists()
        with pytest.raises(UserError, match="is in use by"), lock.held(tmp_path):
            pass


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="no locks here .*only one process") as warned, lock.held(tmp_path):
        pass
    assert len(warned) == 1
