"""Threads that compute one chunk each, instead of all threads on every layer of one chunk.

Layers of a chunk are short, and after each of them all threads of a team wait for the slowest. Here
a thread takes a chunk through all layers, in its own core's cache, and waits for nobody.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch

from ranksrgan.contracts import cancellation

Work = TypeVar("Work")
Result = TypeVar("Result")


def workers() -> Workers | None:
    """The process's workers, as many as torch has threads; None if that is one."""
    count = torch.get_num_threads()
    return _started(os.getpid(), count) if count > 1 else None


class Workers:
    """Threads in each of which torch computes with that thread alone."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="chunks")
        threads = torch.get_num_threads()
        ready = Barrier(self.count + 1)

        def begin() -> None:
            torch.set_num_threads(1)  # of this thread, and of those that start later
            ready.wait()

        for _ in range(self.count):
            self._pool.submit(begin)
        ready.wait()
        torch.set_num_threads(threads)

    def map(self, compute: Callable[[Work], Result], work: Iterable[Work]) -> Iterator[Result]:
        """The results in order; as many pieces are under way as there are threads.

        Raises:
            RequestCancelled: before a piece is begun, if nobody waits for the result any more.
        """
        running: deque[Future[Result]] = deque()
        try:
            for piece in work:
                cancellation.check()
                if len(running) == self.count:
                    yield running.popleft().result()
                running.append(self._pool.submit(compute, piece))
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


@cache
def _started(process: int, count: int) -> Workers:
    """By process, since threads do not survive a fork."""
    return Workers(count)
