"""Files of requests on their way through a server, on its disk and without a name."""

from __future__ import annotations

import errno
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from ranksrgan.contracts.errors import DiskFull, InvalidInput, LimitExceeded, Overloaded

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Spool:
    """Room for the files of all streams together.

    A file has no name where the system can do that, and else loses it at once: nothing is left of
    it when it is closed, or when the process ends in whatever way.

    Args:
        folder: where; None is the system's folder for temporary files. If that is memory, so is
            what is spooled.
        max_bytes: of all files together.

    Raises:
        InvalidInput: ``folder`` is no folder that can be written to.
    """

    def __init__(self, folder: Path | None = None, max_bytes: int = 2**33) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._used = 0
        with self.file():
            pass

    @property
    def used(self) -> int:
        """Bytes that are taken."""
        return self._used

    @contextmanager
    def file(self) -> Iterator[SpooledFile]:
        """A file for as long as the block lasts."""
        try:
            file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        except OSError as error:
            folder = self._folder or "the system's folder for temporary files"
            raise InvalidInput(
                f"{folder} takes no temporary files ({error.strerror or error}): name one that "
                "does with spool (--spool) or TMPDIR",
                field="spool",
            ) from error
        spooled = SpooledFile(cast(BinaryIO, file), self)
        try:
            with file:
                yield spooled
        finally:
            self._release(spooled.size)

    def _reserve(self, size: int, whole: int) -> None:
        """Room for ``size`` bytes more of a file, which has ``whole`` then."""
        if whole > self._max_bytes:
            raise LimitExceeded(
                f"a file of this request has more than the {self._max_bytes} bytes that the server "
                "has room for"
            )
        with self._lock:
            if self._used + size > self._max_bytes:
                raise Overloaded("the server has no room for more files; try again later")
            self._used += size

    def _release(self, size: int) -> None:
        with self._lock:
            self._used -= size


class SpooledFile:
    """One of the files, written by an encoder or from a stream.

    Attributes:
        size: in bytes.
    """

    def __init__(self, file: BinaryIO, spool: Spool) -> None:
        self._file = file
        self._spool = spool
        self.size = 0

    def write(self, data: bytes) -> int:
        """Append, or write over what is there after a `seek`.

        Raises:
            Overloaded: the spool is full.
            LimitExceeded: this file alone is larger than the spool.
            DiskFull: the disk is.
        """
        end = self._file.tell() + len(data)
        if end > self.size:
            self._spool._reserve(end - self.size, end)
            self.size = end
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise DiskFull("the server's disk is full; try again later") from error
        return len(data)

    def seek(self, position: int, whence: int = 0) -> int:
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def content(self) -> bytes:
        """All of it."""
        self._file.seek(0)
        return self._file.read()

    def pieces(self, size: int) -> Iterator[bytes]:
        """All of it, ``size`` bytes at a time."""
        self._file.seek(0)
        while piece := self._file.read(size):
            yield piece
