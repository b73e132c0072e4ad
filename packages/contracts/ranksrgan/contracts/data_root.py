"""The one folder that a server reads and writes for its clients, and the names of what is in it.

A client names a thing ``kind/name`` (``"datasets/faces"``) and nothing else: no path, no URL. What
a name stands for lies at that place below the root, and messages call it by that name too.
"""

from __future__ import annotations

import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ranksrgan.contracts.errors import InvalidInput, RankSRGANError, UnknownName
from ranksrgan.contracts.specs import WEIGHTS_SUFFIXES

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RULE = "letters, digits, '.', '_' and '-', a letter or digit first, at most 100"


class DataRoot:
    """A server's data root.

    Args:
        folder: has to be there.

    Raises:
        InvalidInput: it is no folder, or the root of the file system; says why.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).resolve()
        unsuitable = f"{folder} is no folder to keep data in"
        try:
            is_folder = stat.S_ISDIR(self.folder.stat().st_mode)
        except OSError as error:
            raise InvalidInput(f"{unsuitable}: {error.strerror}", field="data_root") from error
        if not is_folder or self.folder.parent == self.folder:
            raise InvalidInput(unsuitable, field="data_root")

    def require_writable(self) -> None:
        """Find out whether files can be made there.

        Raises:
            InvalidInput: they cannot; says why.
        """
        try:
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise InvalidInput(
                f"{self.folder} keeps no data: {error.strerror}", field="data_root"
            ) from error

    def place(self, name: str, kind: str, field: str) -> Path:
        """Where the thing of that name is, or would be.

        Args:
            name: ``kind/name``, as a client sent it.
            kind: what the name has to begin with.
            field: of the request, for messages.

        Raises:
            InvalidInput: not a name of that kind.
            UnknownName: a symbolic link at that place leads out of the root.
        """
        path = self.folder / kind / id_in(name, kind, field)
        if not self._holds(path):
            raise UnknownName(f"{field}: there is no {name}", field=field)
        return path

    def find(self, name: str, kind: str, field: str) -> Path:
        """Where the thing of that name is; raises as `place`, and UnknownName where nothing is."""
        path = self.place(name, kind, field)
        if not path.exists():
            raise UnknownName(f"{field}: there is no {name}", field=field)
        return path

    def find_weights(self, name: str, kind: str, field: str, *, inside: str = "") -> Path:
        """The weights of that name: a file, with or without its suffix, or one inside a folder.

        Args:
            name, kind, field: see `place`.
            inside: the file's name where a folder has the name, as trainings leave one.

        Raises:
            InvalidInput: not a name of that kind.
            UnknownName: there is no such file, or a symbolic link leads out of the root.
        """
        places = [self.place(name, kind, field)]
        if inside:
            places = [places[0] / inside, *places]
        if not name.endswith(WEIGHTS_SUFFIXES):
            files = [self.place(name + suffix, kind, field) for suffix in WEIGHTS_SUFFIXES]
            places = [*places[:-1], *files]
        for path in places:
            if path.is_file() and self._holds(path):
                return path
        raise UnknownName(f"{field}: there is no {name}", field=field)

    def names(self, kind: str) -> list[str]:
        """Everything of a kind, as ``kind/name``, sorted; without what no name stands for."""
        folder = self.folder / kind
        if not folder.is_dir():
            return []
        return sorted(
            f"{kind}/{path.name}"
            for path in folder.iterdir()
            if _NAME.fullmatch(path.name) and self._holds(path) and path.exists()
        )

    @contextmanager
    def hiding_paths(self) -> Iterator[None]:
        """Errors that leave the block call files by their names below the root."""
        try:
            yield
        except RankSRGANError as error:
            message = self._below(error.message)
            field = None if error.field is None else self._below(error.field)
            if (message, field) == (error.message, error.field):
                raise
            raise type(error)(message, field=field) from error

    def _below(self, text: str) -> str:
        return text.replace(f"{self.folder}/", "").replace(str(self.folder), "the data root")

    def _holds(self, path: Path) -> bool:
        try:
            return path.resolve().is_relative_to(self.folder)
        except (OSError, RuntimeError):  # links that lead to each other
            return False


def id_in(name: str, kind: str, field: str) -> str:
    """The last part of a ``kind/name``.

    Raises:
        InvalidInput: not a name of that kind.
    """
    found, separator, last = name.partition("/")
    if found != kind or not separator or not _NAME.fullmatch(last):
        raise InvalidInput(
            f"{field}: {name[:120]!r} is not of the form {kind}/NAME ({_RULE})", field=field
        )
    return last


def check_id(name: str, field: str) -> str:
    """The last part of a name that a client chooses.

    Raises:
        InvalidInput: it cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{field}: {name[:120]!r} is no name ({_RULE})", field=field)
    return name
