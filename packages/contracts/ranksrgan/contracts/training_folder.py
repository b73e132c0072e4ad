"""One training at a time in a folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ranksrgan.contracts import atomic
from ranksrgan.contracts.folder_lock import locked

#: What every training of the project writes, see `curves` and `provenance`.
_CURVES = ("curves.csv", "validation.csv")
_RECORDS = (*_CURVES, "config.yaml", "run.json")


def clear(folder: Path, files: Iterable[str]) -> None:
    """Remove what an earlier training has left, so that nothing of it stands beside a new one.

    Args:
        folder: of the run.
        files: as in `alone_in`.
    """
    for name in (*files, *_CURVES):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)


@contextmanager
def alone_in(folder: Path, files: Iterable[str]) -> Iterator[None]:
    """Within the block no other process trains in ``folder``.

    What a kill during a save has left of ``files`` and of the records beside them is removed: a
    state may be large, and nobody else would find half of one.

    Args:
        folder: of the run; made if need be, and removed again if nothing has been put into it.
        files: names of the states and weights that the training writes there.

    Raises:
        InvalidInput: another process trains there.
    """
    folder = Path(folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    refusal = (
        f"another training is at work in {folder}: wait for it, stop it, or train into another "
        "folder"
    )
    with locked(folder, refusal):
        for name in (*files, *_RECORDS):
            atomic.remove_leftovers(folder / name)
        try:
            yield
        finally:
            if made:
                with contextlib.suppress(OSError):  # there is something in it
                    folder.rmdir()
