"""Which threads of a server come first: those that answer, before those that decode and compute.

A refusal or the answer to a health check takes a few tenths of a millisecond of work, in two or
three threads one after the other. Where models compute on the same cores, each of those threads
would wait for a core like one more of theirs, and for the interpreter as long as another thread
wants to keep it. The work of models is long and takes the same time in the end.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

import torch

Result = TypeVar("Result")

# Above that of the process: a thread of the server that wakes up gets its core at once, and beside
# other programs on the machine that are as busy the models still get a fourth of a core.
_NICE = 5

# Of the process, before any of its threads is put behind.
_USUAL = os.getpriority(os.PRIO_PROCESS, 0) if sys.platform == "linux" else 0

# A thread that wants the interpreter waits so long before it asks for it; Python's own is 5 ms.
_SWITCH_SECONDS = 0.0005


def compute_behind() -> None:
    """This thread, and those that it starts from now on, as OpenMP's, leave others the way.

    Linux alone has a priority for each thread; elsewhere nothing is done.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _USUAL + _NICE)


def behind(work: Callable[[], Result]) -> Result:
    """What ``work`` returns or raises, done by a thread that leaves others the way.

    For what takes milliseconds in a thread that answers, and none of the interpreter: a system lets
    nobody put a thread behind and in front again.
    """
    return _decoders().submit(copy_context().run, work).result()


@functools.cache
def _decoders() -> ThreadPoolExecutor:
    """As many threads as cores; calls wait for theirs in places that are fewer anyway."""

    def begin() -> None:
        compute_behind()
        answer_alone()

    return ThreadPoolExecutor(os.cpu_count(), "behind", initializer=begin)


def answer_alone() -> None:
    """What torch does in this thread it does without others.

    Else each of the dozens of threads that answer would get a team of OpenMP's threads once it has
    a large tensor to convert, to stay as long as it does and to compute beside those of the models.
    """
    torch.get_num_threads()  # sets the number for a thread that is new to torch; ours comes after
    set_number = getattr(ctypes.CDLL(None), "omp_set_num_threads", None)
    if set_number is not None:  # a torch that is not built on OpenMP has no such teams
        set_number(1)


def share_interpreter() -> None:
    """All threads of this process take turns more often."""
    sys.setswitchinterval(min(_SWITCH_SECONDS, sys.getswitchinterval()))
