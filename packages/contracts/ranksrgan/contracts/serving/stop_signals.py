"""SIGTERM and SIGINT, heard by a thread of their own.

Python runs handlers in the first thread, between two of its steps: late where that computes, and
never where the signal comes in the moment before it begins to wait for work. So the handlers do
nothing, and what the interpreter writes as soon as a signal is there is read here.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that is set by the first signal; the second one ends the process, with 1.

    For the first thread. Handlers are those from before when the block ends.
    """
    stopping = threading.Event()
    heard, told = socket.socketpair()
    told.setblocking(False)

    def listen() -> None:
        while received := heard.recv(1):
            if received[0] not in _SIGNALS:
                continue
            if stopping.is_set():
                os._exit(1)
            stopping.set()

    before = {number: signal.signal(number, lambda _, __: None) for number in _SIGNALS}
    fd_before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    listening = threading.Thread(target=listen, name="signals", daemon=True)
    listening.start()
    try:
        yield stopping
    finally:
        signal.set_wakeup_fd(fd_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        told.close()
        listening.join()
        heard.close()
