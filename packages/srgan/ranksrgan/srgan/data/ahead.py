"""Work that threads do ahead of whoever needs it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], items: Iterable[T], workers: int) -> Generator[R, None, None]:
    """``work(item)`` for each item, in order, made by threads.

    At most ``2 * workers`` results exist or are being made at a time, so memory is bounded however
    slow the reader is. torch's operators run in these threads alone, whatever the reader's do. An
    error of a thread is raised where its result is due. Close the iterator to end the threads
    early.
    """
    waiting = iter(items)
    pool = ThreadPoolExecutor(workers, "ahead", _compute_alone, (torch.get_num_threads(),))
    try:
        pending = deque(pool.submit(work, item) for item in islice(waiting, 2 * workers))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(work, item) for item in islice(waiting, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _compute_alone(threads_of_others: int) -> None:
    """Keep torch's operators in this thread.

    They are too small here to be worth sharing out, and would fight with the network's over the
    cores: each of them would wait for threads that are not scheduled.
    """
    torch.get_num_threads()  # lest the first operator here takes up the number of the others
    torch.set_num_threads(1)
    # That has also become the number of every thread that starts from now on: give it back.
    restoring = threading.Thread(target=torch.set_num_threads, args=(threads_of_others,))
    restoring.start()
    restoring.join()
