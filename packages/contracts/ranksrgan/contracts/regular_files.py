"""Opening what users name, or keep in their folders, without waiting for what may never come."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """A file, or what a link to one leads to, open for reading.

    To open a pipe waits until somebody writes into it, a device may be endless, and neither can be
    read twice or tells its size.

    Raises:
        OSError: it cannot be read, or is a folder, pipe, socket or device; ``strerror`` says why.
    """
    _refuse_others(path.stat())  # before it is opened, which some devices take for an order
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - Path.open has none
    try:
        _refuse_others(os.fstat(file.fileno()))  # another may have taken its place
    except OSError:
        file.close()
        raise
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _refuse_others(found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):  # a folder cannot be opened
        return
    kinds = ((stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))
    kind = next((name for test, name in kinds if test(found.st_mode)), "device")
    raise OSError(errno.EINVAL, f"is a {kind} and no file; save what comes from it as a file first")
