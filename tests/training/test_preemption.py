"""Signals to this process and, where they end it, to others."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from diffax.training import preemption

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_to_stop_and_says_so(number, capfd):
    before = [signal.getsignal(each) for each in SIGNALS]
    with preemption.watched() as should_stop:
        assert not should_stop(1)
        os.kill(os.getpid(), number)
        assert until(lambda: should_stop(2)) and should_stop(3)
    assert [signal.getsignal(each) for each in SIGNALS] == before
    err = capfd.readouterr().err
    assert err == f"{signal.Signals(number).name}: stopping after this step and a checkpoint; once more stops at once\n"


def test_one_request_may_arrive_twice(capfd):
    with preemption.watched() as should_stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            assert until(lambda: should_stop(1))
        time.sleep(0.05)
    assert capfd.readouterr().err.count("SIGTERM") == 1


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with preemption.watched() as should_stop:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            assert until(lambda: should_stop(1))
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_handlers_go_on():
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.append("user"))
    try:
        with preemption.watched() as should_stop:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert until(lambda: heard == ["user"]) and not should_stop(1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_outside_the_main_thread_nothing_is_touched():
    found = []

    def run():
        with preemption.watched() as should_stop:
            found.append(should_stop(1))

    before = [signal.getsignal(each) for each in SIGNALS]
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False] and [signal.getsignal(each) for each in SIGNALS] == before


# A mutex locked twice, where Python's own handlers would wait for ever, as they would for XLA's compiler to end.
DEAF = """
import ctypes, signal
from diffax.training import preemption
signal.signal(signal.SIGINT, signal.default_int_handler)
lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(128)
with preemption.watched():
    print("ready", flush=True)
    lock(mutex)
    lock(mutex)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a mutex of glibc")
def test_the_second_signal_stops_at_once_even_in_the_middle_of_a_call_into_c():
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", DEAF], **pipes)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline().startswith("SIGINT: stopping after this step")
    time.sleep(preemption.SECONDS_OF_ONE_REQUEST + 0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    assert process.stderr.read() == "SIGTERM again: stopped at once\n"


# Ctrl-C reaches one of two processes.
AGREES = """
import os, signal, sys, time
import jax
jax.config.update("jax_platforms", "cpu")
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from diffax.training import preemption
with preemption.watched() as should_stop:
    for step in range(1, 500):
        time.sleep(0.02)
        if step == 5 and sys.argv[2] == "1":
            os.kill(os.getpid(), signal.SIGINT)
        if should_stop(step):
            print("stopped after", step)
            break
"""


@pytest.mark.slow
def test_several_processes_stop_after_the_same_step():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", AGREES, address, rank], **pipes) for rank in "01"]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert outputs[0][0].startswith("stopped after ") and outputs[0][0] == outputs[1][0], outputs
