"""Where a command's output may not go: where nothing can be written, in place of a folder, or of
what the command reads or makes besides."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from pathlib import Path

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.image_files.encoders import SUFFIXES

#: Endings of a rank dataset's files beside its images.
DATASET_SUFFIXES = frozenset({".csv", ".json", ".mdb", ".parquet"})


def check_output(
    option: str,
    output: Path | None,
    needed: Iterable[Path | str],
    *,
    what: str = "an input",
    read: Collection[str] = SUFFIXES,
) -> None:
    """Refuse an output that is a folder, that takes the place of what is needed, by any name, or
    whose folder takes no files.

    To be called before the work. An output of an earlier run is no hindrance, also where it lies in
    a folder of inputs; so of the files there only those count that such a folder is read for.

    Args:
        option: that names the output, as the user writes it.
        output: None if it is not given. A device or a pipe takes nothing's place.
        needed: files, folders, and specs of models and scorers: what follows a question mark in one
            is no part of its file's name.
        what: they are, for the message.
        read: the endings, in lower case, of what a folder among them is read for, at any depth.

    Raises:
        InvalidInput: names the output and the option.
    """
    if output is None:
        return
    target = Path(os.path.realpath(output))
    there = _stat(target)
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise InvalidInput(f"{output} is a folder: name a file with {option}", field=option)
    if there is not None and not stat.S_ISREG(there.st_mode):
        return
    _require_place(option, output, target)
    for given in needed:
        text = str(given)
        for name in filter(None, dict.fromkeys([text, text.partition("?")[0]])):
            place = Path(os.path.realpath(name))
            taken = place == target
            found = None if there is None else _stat(place)
            if there is not None and found is not None:
                # The same file where a disk takes upper and lower case for one, too.
                taken = os.path.samestat(found, there) or (
                    stat.S_ISDIR(found.st_mode)
                    and target.suffix.lower() in read
                    and target.is_relative_to(place)
                )
            if taken:
                raise InvalidInput(
                    f"{output} is {what} and would be replaced: name another file with {option}",
                    field=option,
                )


def _require_place(option: str, output: Path, target: Path) -> None:
    """Refuse what could not be written at the end of the work; folders that lack are made then."""
    folder = next(parent for parent in target.parents if os.path.lexists(parent))
    if not folder.is_dir():
        why = f"{folder} is no folder"
    elif not os.access(folder, os.W_OK | os.X_OK):
        why = f"no file can be made in {folder}"
    else:
        return
    raise InvalidInput(f"{output} cannot be written: {why}; name another {option}", field=option)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # also a name that is too long, or may not be looked up
        return None
