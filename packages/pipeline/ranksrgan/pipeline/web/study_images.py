"""The files of studies while they are served: which are there, and what a browser gets of one."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from starlette.responses import Response, StreamingResponse

from ranksrgan.contracts.errors import UnknownName
from ranksrgan.contracts.some_names import some_names
from ranksrgan.pipeline.web.study import Study
from ranksrgan.pipeline.web.vote_book import VoteBook

log = logging.getLogger(__name__)

# Of every suffix that a study takes; Python's own table lacks some on some machines.
_KINDS = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
}

_CHUNK = 2**18


def warn_of_other_files(study: Study, book: VoteBook) -> None:
    """Say in the log which images are not those that people have voted on.

    Raises:
        DiskFull, Overloaded, InvalidDataset: the book cannot be read, or written.
    """
    voted, replaced, gone = book.recognise(study)
    for images, what in (
        (replaced, "are OTHER FILES than those that people voted on"),
        (gone, "are NOT THERE any more"),
    ):
        if images:
            log.warning(
                "study %s: %d of %d images that have votes %s: %s. The votes are kept, and count "
                "as before; for votes on other images open them under another name",
                *(study.name, len(images), voted, what),
                some_names([f"{content}/{method}" for content, method in images], 10),
            )


class MissingFiles:
    """Looks for files that a study had when it was opened, and warns of each that is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: set[Path] = set()

    def among(self, paths: Iterable[Path]) -> set[Path]:
        """Those that cannot be read now. The log has one warning of each, until it is back."""
        paths = set(paths)
        missing = {path for path in paths if not _is_there(path)}
        with self._lock:
            new = missing - self._told
            self._told = (self._told - paths) | missing
        for path in sorted(new):
            log.warning("%s is not there or cannot be read: raters do not see its pairs", path)
        return missing


def send_image(path: Path, known: str | None) -> Response:
    """An image file as a reply. Neither its name nor that of its folder is in it.

    Browsers ask each time whether it is still the same one: images may be replaced.

    Args:
        path: of the file.
        known: the ``If-None-Match`` of the request.

    Raises:
        UnknownName: it is not there, or cannot be read.
    """
    gone = UnknownName("this image is not there now; load the page again", field="pair")
    if not _is_there(path):
        raise gone
    try:
        file = path.open("rb")
    except OSError as error:
        raise gone from error
    found = os.fstat(file.fileno())
    # No time of the file, which could tell methods apart.
    version = hashlib.sha256(f"{found.st_ino} {found.st_mtime_ns} {found.st_size}".encode())
    headers = {
        "Cache-Control": "private, no-cache",
        "ETag": f'"{version.hexdigest()[:32]}"',
    }
    if _names(known, headers["ETag"]):
        file.close()
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(found.st_size)
    kind = _KINDS[path.suffix.lower()]
    return StreamingResponse(_chunks(file, found.st_size), headers=headers, media_type=kind)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.R_OK)
    except OSError:  # of a folder that nobody may look into
        return False


def _names(known: str | None, tag: str) -> bool:
    return tag in (part.strip().removeprefix("W/") for part in (known or "").split(","))


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    with file:
        while size > 0 and (part := file.read(min(size, _CHUNK))):
            size -= len(part)
            yield part
