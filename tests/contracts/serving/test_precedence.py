import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.serving.precedence import answer_alone, compute_behind

linux = pytest.mark.skipif(sys.platform != "linux", reason="threads have no own priorities")


def in_a_thread(work: object) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()  # type: ignore[arg-type]


def threads_now() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@linux
def test_what_answers_starts_no_team_of_threads_and_others_keep_theirs() -> None:
    def team(alone: bool) -> tuple[int, int]:
        """Threads that torch has for this one, and those that a large sum has started."""
        torch.set_num_threads(2)
        if alone:
            answer_alone()
        before = threads_now()
        torch.rand(2**22).sum()
        return torch.get_num_threads(), threads_now() - before

    threads = torch.get_num_threads()
    try:
        assert in_a_thread(lambda: team(alone=True)) == (1, 0)
        assert in_a_thread(lambda: team(alone=False)) == (2, 1)
    finally:
        torch.set_num_threads(threads)


@linux
def test_what_computes_gives_way_to_the_rest_of_its_process() -> None:
    def priority() -> int:
        compute_behind()
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert in_a_thread(priority) == min(before + 5, 19)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
