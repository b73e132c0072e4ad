"""Work that threads do ahead of whoever needs it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], items: Iterable[T], workers: int) -> Generator[R, None, None]:
    """``work(item)`` for each item, in order, made by threads.

    At most ``2 * workers`` results exist or are being made at a time, so memory is bounded however
    slow the reader is. An error of a thread is raised where its result is due. Close the iterator
    to end the threads early.
    """
    waiting = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ahead")
    try:
        pending = deque(pool.submit(work, item) for item in islice(waiting, 2 * workers))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(work, item) for item in islice(waiting, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
