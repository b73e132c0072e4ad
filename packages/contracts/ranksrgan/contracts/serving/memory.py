"""Memory that a server has given back inside comes back to the system as well."""

from __future__ import annotations

import ctypes
import logging

log = logging.getLogger(__name__)

# <malloc.h>: the parameter of mallopt that bounds the number of arenas.
_M_ARENA_MAX = -8
_ARENAS = 2


def keep_few_arenas() -> None:
    """Bound the heaps of glibc, of which each thread would take one: before threads are started.

    A server has dozens of threads, and each heap keeps the most that its thread has ever needed:
    hundreds of megabytes in time, of which nothing is in use. Other C libraries have no such heaps.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    if not mallopt(_M_ARENA_MAX, _ARENAS):
        log.warning("the number of malloc's arenas stays as it is; memory may grow with threads")
