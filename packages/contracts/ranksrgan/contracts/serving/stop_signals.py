"""SIGTERM, SIGINT and SIGHUP, heard by a thread of their own.

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
from contextlib import ExitStack, contextmanager

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that is set by the first signal; the second one ends the process, with 1.

    SIGHUP is never the second: of a terminal that closes both the kernel and the shell may tell. It
    stays ignored if it was, as ``nohup`` has it.

    For the first thread of a process that does not fork: a child's signals would be heard here.
    Handlers are those from before when the block ends.
    """
    stopping = threading.Event()
    heeded = [
        number
        for number in _SIGNALS
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    ]

    def listen() -> None:
        while received := heard.recv(1):
            if received[0] not in heeded:
                continue
            if stopping.is_set() and received[0] != signal.SIGHUP:
                os._exit(1)
            stopping.set()

    with ExitStack() as ending:
        heard, told = (ending.enter_context(end) for end in socket.socketpair())
        told.setblocking(False)
        before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        ending.callback(signal.set_wakeup_fd, before)
        listening = threading.Thread(target=listen, name="signals", daemon=True)
        listening.start()
        ending.callback(listening.join)
        ending.callback(told.shutdown, socket.SHUT_RDWR)
        for number in heeded:
            ending.callback(signal.signal, number, signal.signal(number, lambda _, __: None))
        yield stopping
