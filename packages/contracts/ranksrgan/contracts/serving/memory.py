"""Memory that a server has given back inside comes back to the system, but not in every call."""

from __future__ import annotations

import ctypes
import logging

log = logging.getLogger(__name__)

# Parameters of mallopt, from <malloc.h>, and what a server sets them to.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_SETTINGS = {
    # Heaps. Each thread would take one of its own, of which a server has dozens, and each keeps the
    # most that its thread has ever needed: hundreds of megabytes in time, none of it in use.
    _M_ARENA_MAX: 2,
    # Free bytes at the end of a heap that stay in it. A network's intermediate results are
    # allocated and freed in every call; from 128 KiB on, glibc's own beginning, they would go
    # back to the system each time, and come again page by page.
    _M_TRIM_THRESHOLD: 32 * 2**20,
    # From this size on memory is the system's as soon as it is free.
    _M_MMAP_THRESHOLD: 16 * 2**20,
}


def bound_heaps() -> None:
    """Say to glibc what its heaps may keep: before threads are started.

    Other C libraries have no such heaps.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    for parameter, value in _SETTINGS.items():
        if not mallopt(parameter, value):
            log.warning("malloc's parameter %d stays as it is; memory may grow", parameter)
