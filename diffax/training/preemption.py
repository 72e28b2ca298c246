"""Preemption: stopping between two steps when a scheduler (SIGTERM) or a person (Ctrl-C) asks for it."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils

# One request may arrive twice: `timeout` and some schedulers signal a process and then its group.
SECONDS_OF_ONE_REQUEST = 0.3


@contextlib.contextmanager
def watched() -> Iterator[Callable[[int], bool]]:
    """Within the block, should_stop(step) tells whether the run is to end after `step`, the same in every process.

    The first SIGTERM or Ctrl-C is acknowledged on stderr as soon as it comes; the second ends the process on the spot,
    with exit code 128 + its number. Both hold while JAX compiles or waits for a device, when Python's own handlers do
    not run. A signal that is ignored (nohup) stays ignored; before and after the block all is as it was. Outside the
    main thread there are no signals, and should_stop is always False.

    Under jax.distributed SIGTERM is JAX's, which lets all processes agree on the step to stop after: should_stop must
    be called after every step, by all of them. Ctrl-C is then passed on as SIGTERM.
    """
    distributed = jax.distributed.is_initialized()
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield lambda step: False
        return
    watched_signals = (signal.SIGINT,) if distributed else (signal.SIGINT, signal.SIGTERM)
    signals = [number for number in watched_signals if signal.getsignal(number) is not signal.SIG_IGN]
    with _received_at_once(signals, lambda number: _receive(number, requested, distributed)):
        yield multihost_utils.reached_preemption_sync_point if distributed else lambda step: requested.is_set()


def _receive(number: int, requested: threading.Event, distributed: bool) -> None:
    name = signal.Signals(number).name
    if requested.is_set():
        print(f"{name} again: stopped at once", file=sys.stderr, flush=True)
        os._exit(128 + number)
    requested.set()
    print(f"{name}: stopping after this step and a checkpoint; once more stops at once", file=sys.stderr, flush=True)
    if distributed:
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _received_at_once(signals: list[signal.Signals], receive: Callable[[int], None]) -> Iterator[None]:
    """Calls receive(number) in a thread for every request that one of the signals brings."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def listen() -> None:
        last = -SECONDS_OF_ONE_REQUEST
        while received := receiver.recv(1):
            # The socket hears of other signals too, if somebody handles them.
            if received[0] in signals and time.monotonic() - last >= SECONDS_OF_ONE_REQUEST:
                last = time.monotonic()
                receive(received[0])

    listener = threading.Thread(target=listen, name="signals", daemon=True)
    listener.start()
    # Written to by C code on arrival, at which Python would wait for the main thread to be back from wherever it is.
    socket_before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    handlers_before = {number: signal.signal(number, lambda *_: None) for number in signals}
    try:
        yield
    finally:
        for number, handler in handlers_before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(socket_before)
        sender.close()
        listener.join()
        receiver.close()
