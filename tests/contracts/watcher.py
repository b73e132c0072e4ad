"""An observer that remembers, and that a test can wait with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ranksrgan.contracts.serving.observer import Lengths

#: Seconds that a test waits for what must happen, on a machine that has other things to do.
PATIENCE = 60.0


class Watcher:
    """What a server told: sizes of batches, ends of calls, and how to ask for queue lengths."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lengths: Lengths = dict
        self.batches: list[tuple[str, int]] = []
        self.requests: list[tuple[str, str]] = []
        self.seconds: list[float] = []

    def queues(self, lengths: Lengths) -> None:
        self._lengths = lengths

    def waiting(self, model: str) -> int:
        """Calls of a model that wait, of all services together."""
        return sum(length for (_, name), length in self._lengths().items() if name == model)

    def batch(self, model: str, size: int, seconds: float) -> None:
        with self._changed:
            self.batches.append((model, size))
            self.seconds.append(seconds)
            self._changed.notify_all()

    def request(self, method: str, code: str, seconds: float) -> None:
        with self._changed:
            self.requests.append((method.rpartition("/")[2], code))
            self.seconds.append(seconds)
            self._changed.notify_all()

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        with self._changed:
            while not condition():
                assert time.monotonic() < end, "it did not happen"
                self._changed.wait(0.01)  # queues are asked, and tell nothing
