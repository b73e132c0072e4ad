"""One training at a time in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import InvalidInput

#: What every training of the project writes, see `curves` and `provenance`.
_RECORDS = ("curves.csv", "validation.csv", "config.yaml", "run.json")


@contextmanager
def alone_in(folder: Path, files: Iterable[str]) -> Iterator[None]:
    """Within the block no other process trains in ``folder``.

    What a kill during a save has left of ``files`` and of the records beside them is removed: a
    state may be large, and nobody else would find half of one. The kernel forgets the lock of a
    process that is killed.

    Args:
        folder: of the run; made if need be, and removed again if nothing has been put into it.
        files: names of the states and weights that the training writes there.

    Raises:
        InvalidInput: another process trains there.
    """
    folder = Path(folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidInput(
                f"another training is at work in {folder}: wait for it, stop it, or train into "
                "another folder",
                field=str(folder),
            ) from error
        for name in (*files, *_RECORDS):
            atomic.remove_leftovers(folder / name)
        try:
            yield
        finally:
            if made:
                with contextlib.suppress(OSError):  # there is something in it
                    folder.rmdir()
    finally:
        os.close(handle)
