"""An observer that remembers, and that a test can wait with."""

from __future__ import annotations

import threading
from collections.abc import Callable

#: Seconds that a test waits for what must happen, on a machine that has other things to do.
PATIENCE = 60.0


class Watcher:
    """What a server told: queue lengths by model, sizes of batches, ends of calls."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lengths: dict[tuple[str, str], int] = {}
        self.batches: list[tuple[str, int]] = []
        self.requests: list[tuple[str, str]] = []
        self.seconds: list[float] = []

    def queued(self, service: str, model: str, length: int) -> None:
        with self._changed:
            self._lengths[service, model] = length
            self._changed.notify_all()

    def waiting(self, model: str) -> int:
        """Calls of a model that wait, of all services together."""
        return sum(length for (_, name), length in self._lengths.items() if name == model)

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
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), "it did not happen"
