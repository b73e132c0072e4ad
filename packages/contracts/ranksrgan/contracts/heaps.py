"""What a process's heaps keep of the memory that it frees.

A network's intermediate results are allocated and freed in every step and every call. glibc gives
what is larger than 32 MiB back to the system each time, and the system hands it out again page by
page, emptied: a tenth of the time of a Ranker's training, a sixth of a Ranker's score.
"""

from __future__ import annotations

import ctypes
import functools
import gc
from collections.abc import Callable

# Parameters of mallopt, from <malloc.h>: free bytes at the end of a heap that stay in it; the size
# from which memory is the system's as soon as it is free; and how many heaps there are.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8

# Of the system. Before 2.35 glibc takes no larger one.
_OLD_MMAP_THRESHOLD = 32 * 2**20

# Each thread would take a heap of its own, of which a server has dozens, and each keeps the most
# that its thread has ever needed: hundreds of megabytes in time, none of it in use.
_FEW_ARENAS = 2


def keep_for_a_command() -> None:
    """Keep what is freed, for a process that computes the same again and again and then ends.

    Call it before the work; the settings are for good. C libraries other than glibc have none.
    """
    _keep(trim=2**30, mmap=2**30)


def keep_for_a_server() -> None:
    """Likewise, for a process that lives on: less of it, and in few heaps. See `give_back`.

    Python's collector leaves alone what is there already, modules above all. To look through torch
    for garbage takes it 0.2 s, in which nobody is answered.

    Call it before threads are started, and before models are loaded: those may go again.
    """
    gc.freeze()
    _set(_ARENA_MAX, _FEW_ARENAS)
    _keep(trim=512 * 2**20, mmap=256 * 2**20)


def keep_for_pictures() -> None:
    """Likewise, for a command through which large results pass: what is small, in few heaps.

    Strips of a picture come and go, in several threads. In a heap each would leave a hole, into
    which the next does not fit once something small lies there.

    Call it before threads are started.
    """
    _set(_ARENA_MAX, _FEW_ARENAS)
    _keep(trim=2**30, mmap=_OLD_MMAP_THRESHOLD)


def give_back() -> None:
    """Let the system have what is free in all heaps: some milliseconds, for when nobody waits."""
    trim = _of_libc("malloc_trim")
    if trim is not None:
        trim(0)


def _keep(trim: int, mmap: int) -> None:
    """Set both thresholds, or neither: with the first alone, the second would stay at 128 KiB."""
    if _set(_MMAP_THRESHOLD, mmap) or _set(_MMAP_THRESHOLD, _OLD_MMAP_THRESHOLD):
        _set(_TRIM_THRESHOLD, trim)


def _set(parameter: int, value: int) -> bool:
    mallopt = _of_libc("mallopt")
    return mallopt is not None and bool(mallopt(parameter, value))


@functools.cache
def _of_libc(name: str) -> Callable[..., int] | None:
    """A function that glibc has, and others may not have."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None
    return found
