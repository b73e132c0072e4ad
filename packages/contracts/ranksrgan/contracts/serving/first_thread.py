"""The first thread of a server's process, which works for the device that is the CPU.

The threads with which OpenMP computes wait for each other awake for a moment before they sleep. A
network of hundreds of short operations waits as often, and to be woken costs as much as the
operation. GNU's OpenMP counts the first thread of a process among those that compute, whether it
does or not: where another one has as many helpers as there are cores, they are more than cores by
that one, and none of them waits awake. So the first thread computes, and others hear
of signals (`stop_signals`) and stop the server.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class FirstThread:
    """What the first thread is to do: nothing, then one thing until that ends."""

    def __init__(self) -> None:
        self._given: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lent = False
        #: Set when `work` has returned or raised.
        self.ended = threading.Event()

    def lend(self, work: Callable[[], None]) -> bool:
        """Have it do ``work``, which may be as long as the server lives; False: it is lent already.

        One caller at a time.
        """
        if self._lent:
            return False
        self._lent = True
        self._given.put(work)
        return True

    def end(self) -> None:
        """Let `work` return, when what is lent has ended."""
        self._given.put(None)

    def work(self) -> None:
        """In the first thread: do what comes, until `end`."""
        try:
            while (given := self._given.get()) is not None:
                given()
        finally:
            self.ended.set()
