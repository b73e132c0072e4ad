import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest
import torch

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.serving.precedence import answer_alone, behind, compute_behind

linux = pytest.mark.skipif(sys.platform != "linux", reason="threads have no own priorities")


def in_a_thread(work: object) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()  # type: ignore[arg-type]


@linux
def test_what_answers_has_one_thread_of_torch_and_others_keep_theirs() -> None:
    def threads(alone: bool) -> int:
        if alone:
            answer_alone()
        torch.rand(2**16).sum()  # what torch asks for when it first shares out work
        return torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert in_a_thread(lambda: threads(alone=True)) == 1
        assert in_a_thread(lambda: threads(alone=False)) == 2
    finally:
        torch.set_num_threads(before)


@linux
def test_what_computes_gives_way_to_the_rest_of_its_process() -> None:
    def priority() -> int:
        compute_behind()
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert in_a_thread(priority) == min(before + 5, 19)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


@linux
def test_what_is_done_behind_belongs_to_its_call_and_not_to_its_thread() -> None:
    call: ContextVar[str] = ContextVar("call")
    call.set("mine")

    def where() -> tuple[str, int, int]:
        here = threading.get_native_id()
        return call.get(), here, os.getpriority(os.PRIO_PROCESS, here)

    mine, thread, nice = behind(where)
    assert mine == "mine"
    assert thread != threading.get_native_id()
    assert nice == min(os.getpriority(os.PRIO_PROCESS, 0) + 5, 19)

    def fail() -> None:
        raise InvalidInput("no image")

    with pytest.raises(InvalidInput, match="no image"):
        behind(fail)
