"""A folder that one process at a time works in."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ranksrgan.contracts.errors import InvalidInput

# Seconds between two tries to get a folder that another process holds.
_TRY_EVERY = 0.02


@contextmanager
def locked(folder: Path, refusal: str, *, wait: float = 0.0) -> Iterator[None]:
    """Within the block no other process holds ``folder``; the kernel forgets one that is killed.

    Args:
        folder: is there.
        refusal: what is said if another process holds it.
        wait: seconds that the other process may hold it until then.

    Raises:
        InvalidInput: another process does.
        OSError: the folder cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        end = time.monotonic() + wait
        while not _taken(handle):
            if time.monotonic() >= end:
                raise InvalidInput(refusal, field=str(folder))
            time.sleep(_TRY_EVERY)
        yield
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
