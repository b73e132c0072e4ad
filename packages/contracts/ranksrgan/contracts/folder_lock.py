"""A folder that one process at a time works in."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ranksrgan.contracts.errors import InvalidInput


@contextmanager
def locked(folder: Path, refusal: str) -> Iterator[None]:
    """Within the block no other process holds ``folder``; the kernel forgets one that is killed.

    Args:
        folder: is there.
        refusal: what is said if another process holds it.

    Raises:
        InvalidInput: another process does.
        OSError: the folder cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidInput(refusal, field=str(folder)) from error
        yield
    finally:
        os.close(handle)
