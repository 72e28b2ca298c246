import io

import jax.numpy as jnp
import pytest

from diffax.reporting import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Unshowable:
    def __float__(self):
        raise AssertionError("formatted although not shown")


class Clock:
    """A stand-in for the time module whose time the test sets."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_log_gets_occasional_plain_lines(clock):
    log = io.StringIO()
    with progress.Progress(100, stream=log, seconds_between_lines=20) as bar:
        for step in range(1, 11):
            clock.now += 5
            bar.update(step, loss=jnp.float32(1 / step))
    assert log.getvalue().splitlines() == [
        "train: step 4/100, loss 0.25, 0.2 steps/s, 8m00s left",
        "train: step 8/100, loss 0.125, 0.2 steps/s, 7m40s left",
        "train: step 10/100, loss 0.1, 0.2 steps/s, 7m30s left",
    ]


def test_what_is_counted_has_a_name(clock):
    log = io.StringIO()
    with progress.Progress(50_000, description="sample", unit="samples", stream=log) as bar:
        clock.now += 64
        bar.update(256)
    assert log.getvalue() == "sample: sample 256/50000, 4 samples/s, 3h27m left\n"


def test_values_are_read_only_when_shown():
    log = io.StringIO()
    with progress.Progress(100, stream=log) as bar:
        bar.update(1, loss=Unshowable())
        bar.update(2, loss=0.5)
    assert "loss 0.5" in log.getvalue()


def test_resumed_steps_do_not_count_as_speed(clock):
    log = io.StringIO()
    with progress.Progress(1000, start_step=900, stream=log) as bar:
        clock.now += 2
        bar.update(901, loss=1.0)
    assert log.getvalue() == "train: step 901/1000, loss 1, 0.5 steps/s, 3m18s left\n"


def test_a_terminal_gets_a_bar():
    terminal = Terminal()
    with progress.Progress(4, description="sample", stream=terminal) as bar:
        for step in range(1, 5):
            bar.update(step, loss=0.125)
    text = terminal.getvalue()
    assert "\r" in text and "sample: 100%" in text and "4/4" in text and "loss 0.125" in text and "steps/s" in text


def test_durations():
    seconds = (59.4, 60, 725, 11_220, float("inf"))
    assert [progress.duration(s) for s in seconds] == ["59s", "1m00s", "12m05s", "3h07m", "unknown"]


def test_downloads_say_how_far_each_file_is():
    out = io.StringIO()
    report = progress.downloads(out)
    for have in (500_000, 1_000_000, 2_000_000):
        report("a.tar.gz", have, 2_000_000)
    report("b.gz", 10, 10)
    text = out.getvalue()
    assert "a.tar.gz: 100%" in text and "2.00M/2.00M" in text and "b.gz: 100%" in text
