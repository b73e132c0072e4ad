"""A folder of models that a server offers, and the way to read it without being led elsewhere.

    ROOT/NAME/VERSION/model.safetensors    weights; VERSION is a whole number from 1
    ROOT/NAME/model.yaml                   how they are opened, if that is not said by themselves

Whoever can write to the folder decides what is served, and nothing more: no link is followed, every
file is opened once and judged by what was opened, and what does not belong there is refused rather
than passed over. Names that begin with a dot are nobody's: files are written under such names
before they take their places. Nor is ``lost+found``, in a root that is a volume.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, PositiveInt

from ranksrgan.contracts.checkpoint import Weights, weights_in
from ranksrgan.contracts.config import Config, make_config
from ranksrgan.contracts.data_root import check_id
from ranksrgan.contracts.errors import (
    InvalidCheckpoint,
    InvalidConfig,
    InvalidInput,
    LimitExceeded,
    RankSRGANError,
    UnknownName,
)
from ranksrgan.contracts.serving.model_checks import USUAL_SHAPE
from ranksrgan.contracts.yaml_text import parse_keys

WEIGHTS = "model.safetensors"
SETTINGS = "model.yaml"

#: Bytes of a file of weights that are read; they are held twice while it is opened.
MAX_WEIGHTS = 2**31
_MAX_SETTINGS = 2**16

_VERSION = re.compile(r"[1-9][0-9]{0,8}")
# A volume may have it, and is empty all the same.
_OF_A_VOLUME = "lost+found"

# Without O_NONBLOCK a pipe in the place of a file would hold the server until somebody writes.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class ModelSettings(Config):
    """The content of a ``model.yaml``.

    Attributes:
        options: as in a spec: ``head: ma``, ``device: cuda``, ``precision: auto``.
        versions: those that are served, none if it is empty; all that are there if it is left out.
        warm_up: height and width of the image that a model runs on before it takes requests, unless
            it takes none so small.
    """

    options: dict[str, str | bool | int | float] = Field(default_factory=dict)
    versions: tuple[PositiveInt, ...] | None = None
    warm_up: tuple[PositiveInt, PositiveInt] = USUAL_SHAPE

    def option_texts(self) -> dict[str, str]:
        """The options as a spec would give them."""
        return {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in self.options.items()
        }


class Mark(NamedTuple):
    """What tells one file from another in its place, and a file from what it was before."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class ModelRef(NamedTuple):
    """``NAME`` or ``NAME:VERSION`` taken apart."""

    name: str
    version: int | None


class ModelFile:
    """The weights of one version, opened once.

    Args:
        handle: of the file.
        label: ``NAME/VERSION/model.safetensors``, what messages call it.
    """

    def __init__(self, handle: int, label: str) -> None:
        self._handle = handle
        self.label = label
        self.mark = _mark(handle)

    def read(self) -> bytes:
        """The whole content.

        Raises:
            InvalidCheckpoint: it is being written.
            LimitExceeded: more than `MAX_WEIGHTS` bytes.
        """
        if self.mark.size > MAX_WEIGHTS:
            raise LimitExceeded(
                f"{self.label} has {self.mark.size} bytes; at most {MAX_WEIGHTS} are read",
                field=self.label,
            )
        # Not mapped: a file that shrinks would end the process.
        os.lseek(self._handle, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self._handle), "rb") as file:
            data = file.read(self.mark.size + 1)
        if len(data) != self.mark.size or _mark(self._handle) != self.mark:
            raise self.changed()
        return data

    def changed(self) -> InvalidCheckpoint:
        return InvalidCheckpoint(
            f"{self.label} was replaced or written while it was loaded; put it there whole, by "
            "renaming, and load it again",
            field=self.label,
        )


class ModelRepository:
    """A model repository on disk; see the module's head.

    Args:
        root: has to be there. It may be a link itself: the operator named it.

    Raises:
        InvalidInput: it is no folder, or the root of the file system.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(root).resolve()
        if not self._root.is_dir() or self._root.parent == self._root:
            raise InvalidInput(f"{root} is no folder of models", field="models")

    def scan(self) -> tuple[list[str], dict[str, str]]:
        """The names of models, sorted, and why other things in the root are refused."""
        names, refused = [], {}
        with self._folder() as folder:
            for entry in _entries(folder):
                if entry == _OF_A_VOLUME:
                    continue
                try:
                    with _inside(folder, check_id(entry, "model"), _FOLDER, ascii(entry)):
                        names.append(entry)
                except RankSRGANError as error:
                    # No name of a file has to be text that can be shown or sent.
                    refused[ascii(entry)[1:-1][:120]] = str(error)
        return names, refused

    def settings(self, name: str) -> ModelSettings:
        """What ``model.yaml`` says; the defaults if there is none.

        Raises:
            UnknownName: there is no such model.
            InvalidConfig: it is not YAML, or has a key twice, unknown keys or wrong values.
            InvalidInput: it is a link, or no file.
        """
        label = f"{name}/{SETTINGS}"
        with self._folder(name) as folder:
            if SETTINGS not in _entries(folder):
                return ModelSettings()
            with (
                _inside(folder, SETTINGS, _FILE, label) as handle,
                os.fdopen(os.dup(handle), "rb") as file,
            ):
                text = file.read(_MAX_SETTINGS + 1)
        if len(text) > _MAX_SETTINGS:
            raise InvalidConfig(f"{label} is longer than {_MAX_SETTINGS} bytes", field=label)
        return make_config(ModelSettings, parse_keys(text, label), label)

    def versions(self, name: str) -> list[int]:
        """The versions of a model that are there, sorted.

        Raises:
            UnknownName: there is no such model.
            InvalidInput: its folder holds something that does not belong there.
        """
        versions = []
        with self._folder(name) as folder:
            for entry in _entries(folder):
                if entry == SETTINGS:
                    continue
                if not _VERSION.fullmatch(entry):
                    raise InvalidInput(
                        f"{name} holds {ascii(entry)[:120]}, which is neither {SETTINGS} nor a "
                        "version (a whole number from 1)",
                        field=name,
                    )
                versions.append(int(entry))
        return sorted(versions)

    @contextmanager
    def open(self, name: str, version: int) -> Iterator[ModelFile]:
        """Open the weights of a version.

        Raises:
            UnknownName: they are not there.
            InvalidInput: a link or another thing than a file in their place, or something beside
                them.
        """
        label = f"{name}/{version}"
        with self._folder(name, str(version)) as folder:
            if others := [entry for entry in _entries(folder) if entry != WEIGHTS]:
                raise InvalidInput(
                    f"{label} holds {ascii(others[0])[:120]}; {WEIGHTS} is all that may lie there",
                    field=label,
                )
            with _inside(folder, WEIGHTS, _FILE, f"{label}/{WEIGHTS}") as handle:
                yield ModelFile(handle, f"{label}/{WEIGHTS}")

    @contextmanager
    def read(self, name: str, version: int) -> Iterator[tuple[Weights, Mark, str]]:
        """Read the weights of a version, and see to it that they still are those at the end.

        Yields:
            The weights, the mark of their file and its sha256 in hex.

        Raises:
            UnknownName, InvalidInput: see `open`.
            InvalidCheckpoint: no sound ``.safetensors``; or, also when the block ends, the file is
                another than it was.
            LimitExceeded: see `ModelFile.read`.
        """
        with self.open(name, version) as file:
            data = file.read()
            sha256 = hashlib.sha256(data).hexdigest()
            yield weights_in(data, Path(file.label)), file.mark, sha256
            with self.open(name, version) as now:
                if now.mark != file.mark or hashlib.sha256(now.read()).hexdigest() != sha256:
                    raise file.changed()

    @contextmanager
    def _folder(self, *names: str) -> Iterator[int]:
        """A handle of the root, or of a folder below it that no link led to."""
        handle = os.open(self._root, _FOLDER)
        try:
            for depth, name in enumerate(names, start=1):
                with _inside(handle, name, _FOLDER, "/".join(names[:depth])) as inner:
                    os.dup2(inner, handle, inheritable=False)
            yield handle
        finally:
            os.close(handle)


def parse_ref(text: str) -> ModelRef:
    """Take ``NAME`` or ``NAME:VERSION`` apart.

    Raises:
        InvalidInput: it is neither; a name is as `data_root.check_id` wants it.
    """
    name, colon, version = text.partition(":")
    if colon and not _VERSION.fullmatch(version):
        raise InvalidInput(
            f"model: {text[:120]!r} is neither NAME nor NAME:VERSION, with a whole number from 1",
            field="model",
        )
    return ModelRef(check_id(name, "model"), int(version) if colon else None)


def _entries(folder: int) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


@contextmanager
def _inside(folder: int, name: str, flags: int, label: str) -> Iterator[int]:
    """A handle of what a folder holds under a name, unless it is a link or of another kind."""
    wanted = "folder" if flags & os.O_DIRECTORY else "file"
    try:
        handle = os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError as error:
        raise UnknownName(f"there is no {label} in the model repository", field=label) from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise InvalidInput(
                f"{label} is no {wanted} of its own; the model repository follows no links",
                field=label,
            ) from error
        raise InvalidInput(f"{label} cannot be opened: {error.strerror}", field=label) from error
    try:
        if wanted == "file" and not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InvalidInput(f"{label} is no file", field=label)
        yield handle
    finally:
        os.close(handle)


def _mark(handle: int) -> Mark:
    found = os.fstat(handle)
    return Mark(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
