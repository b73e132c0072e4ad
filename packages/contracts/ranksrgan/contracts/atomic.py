"""Writing files so that a reader, or a kill at any moment, never meets half of one."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ranksrgan.contracts.errors import DiskFull, InvalidInput

#: No space, a quota used up, and a file larger than this process may write.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

# The stem and the suffix of what a temporary file is to become.
_TEMPORARY = re.compile(r"\.(.*)-[0-9a-f]{8}(\.[^.]*|)", re.DOTALL)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced and takes its place.

    On an exception the temporary file is removed and ``path`` is as it was. The name keeps the
    suffix, since some writers choose the format by it. The new file has the mode of the one that
    it replaces, and its owner where that is allowed. A link is replaced itself, see `write_output`;
    what is no file (a device, a pipe) is written into, once all is there.

    Raises:
        DiskFull: there is no room for it.
    """
    path = Path(path)
    # The inner one looks at the room before the temporary file, which takes it, is gone.
    with room_for(path), _replacing(path) as temporary, room_for(path):
        yield temporary


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Within the block, an error for want of room on the disk becomes `DiskFull`."""
    try:
        yield
    except Exception as error:
        # Some writers raise an error of their own over the system's.
        cause: BaseException | None = error
        while cause is not None and getattr(cause, "errno", None) not in _NO_ROOM:
            cause = cause.__cause__ or cause.__context__
        if cause is None or isinstance(error, DiskFull):
            raise
        there = next(folder for folder in path.absolute().parents if folder.is_dir())
        why, free = getattr(cause, "strerror", cause), shutil.disk_usage(there).free / 2**20
        raise DiskFull(
            f"{path} cannot be written: {why} ({free:.0f} MiB are free there); what stood there "
            "before is unchanged",
            field=str(path),
        ) from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.stat() if path.exists() else None
    if old is not None and not (stat.S_ISREG(old.st_mode) or stat.S_ISDIR(old.st_mode)):
        with _written_into(path) as temporary:
            yield temporary
        return
    if path.is_symlink():
        old = None  # the link is replaced; what it leads to may be others' too
    temporary, handle = _held_file(path)
    mode = stat.S_IMODE(os.fstat(handle).st_mode)
    if old is not None and stat.S_ISREG(old.st_mode):
        mode = stat.S_IMODE(old.st_mode) & 0o777
        # From the start: what was private is not to be read meanwhile. But it is to be written.
        os.fchmod(handle, mode | 0o600)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        if old is not None and (old.st_uid, old.st_gid) != _owner(temporary):
            with suppress(OSError):  # who may not give files away, or has no name for their owner
                os.chown(temporary, old.st_uid, old.st_gid)
        temporary.chmod(mode)  # some writers replace the file by a private one
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _held_file(path: Path) -> tuple[Path, int]:
    """A new temporary file beside ``path``, and the handle by which `remove_leftovers` can tell
    that it is being written; the kernel forgets one that is killed."""
    while True:
        temporary = path.parent / f".{path.stem[:32]}-{secrets.token_hex(4)}{path.suffix}"
        # Made with the mode of any new file, which the umask decides and mkstemp would not give.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        with suppress(OSError):  # some file systems have no locks: there nothing is removed either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, handle
        os.close(handle)  # it was taken for a leftover before it was held


def _owner(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid


@contextmanager
def _written_into(path: Path) -> Iterator[Path]:
    """For what a rename would destroy: a temporary file elsewhere, whose content goes there."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"content{path.suffix}"
        temporary.touch()
        yield temporary
        with temporary.open("rb") as content, path.open("wb") as target:
            shutil.copyfileobj(content, target)


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove what kills in the middle of writing some files have left beside them.

    What is being written now, by whomever, stays; but who puts another file in the place of the
    temporary one, instead of filling it, is not seen to write.
    """
    names: dict[Path, set[tuple[str, ...]]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add((path.stem[:32], path.suffix))
    for folder, wanted in names.items():
        others: list[Path] = []
        with suppress(OSError):  # it is not there yet, or whoever writes into it will be told
            others.extend(folder.iterdir())
        for other in others:
            found = _TEMPORARY.fullmatch(other.name)
            if found and found.groups() in wanted:
                _remove_unless_held(other)


def _remove_unless_held(temporary: Path) -> None:
    with suppress(OSError):  # it is held, or has gone, or is another's
        handle = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()
        finally:
            os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in UTF-8, whole or not at all.

    A byte of a file's name that is no UTF-8 is written as ``\\udcXX``, as JSON writes it.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_output(path: Path, text: str) -> None:
    """Write ``text`` where a user has told a command to, as `write_text`.

    A link stays, and the file that it leads to is replaced. What is our own standard output or
    error is written into where it stands: behind ``/dev/stdout`` may be a file that others write to
    as well.

    Raises:
        InvalidInput: it cannot be written; names it.
        DiskFull: there is no room for it.
    """
    for descriptor in (1, 2):
        if _is_open_as(path, descriptor):
            sys.stdout.flush()
            with open(os.dup(descriptor), "wb") as stream:
                stream.write(text.encode(errors="backslashreplace"))
            return
    try:
        write_text(Path(os.path.realpath(path)), text)
    except DiskFull:
        raise
    except OSError as error:
        why = error.strerror or error  # of a temporary file, whose name says nothing to anybody
        raise InvalidInput(f"{path} cannot be written: {why}", field=str(path)) from error


def _is_open_as(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
