"""A dataset's folder appears whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.rankdata.manifest import RECORD


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse to write where something would be lost.

    Raises:
        InvalidInput: ``target`` is a file, a folder with anything but a dataset in it, or holds a
            dataset and ``overwrite`` is not set.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise InvalidInput(f"{target} is a file; a folder is wanted", field=str(target))
    if (target / RECORD).is_file():
        if not overwrite:
            raise InvalidInput(
                f"{target} already holds a dataset; replacing it has to be asked for (--force)",
                field=str(target),
            )
    elif any(target.iterdir()):
        raise InvalidInput(
            f"{target} holds files that are no rank dataset; choose another folder",
            field=str(target),
        )


@contextmanager
def replacing_folder(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder beside ``target``; when the block succeeds it takes its place.

    On an exception the new folder is removed and ``target`` is as it was. An old dataset stays
    valid until the new one is complete; a kill leaves at most a hidden folder beside it.

    Raises:
        InvalidInput: see `check_target`; asked before and again after the block.
    """
    target = target.absolute()
    check_target(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    fresh = target.parent / f".{target.name}-{mark}"
    retired = target.parent / f".{target.name}-{mark}-old"
    fresh.mkdir()
    try:
        yield fresh
        check_target(target, overwrite=overwrite)
        if target.exists():
            target.rename(retired)
        try:
            fresh.rename(target)
        except OSError:
            if retired.exists():
                retired.rename(target)
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if target.exists():
            shutil.rmtree(retired, ignore_errors=True)
