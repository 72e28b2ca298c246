"""Evaluators that end their process."""

import os
import pathlib
import signal


def kills_once(step, trained, data, *, marker: str):
    """kill -9, unless the file is there already, which it makes."""
    if not pathlib.Path(marker).exists():
        pathlib.Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    yield from ()


def stops_once(step, trained, data, *, marker: str):
    """SIGTERM, unless the file is there already, which it makes."""
    if not pathlib.Path(marker).exists():
        pathlib.Path(marker).touch()
        os.kill(os.getpid(), signal.SIGTERM)
    yield from ()
