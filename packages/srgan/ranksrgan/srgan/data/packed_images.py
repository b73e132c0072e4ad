"""Images packed for training at scale.

A crop of a PNG costs the decoding of the whole image unless that is in memory already. A pack holds
the pixels as they are in one LMDB file, from which the operating system reads the rows of a crop
alone::

    index.json    format, size of the other file, and name, size and hash of each image
    images.mdb    key: place in the index (4 bytes, high byte first)
                  value: height x width x 3 bytes, RGB triples

It takes the room of uncompressed images. Crops from it are equal to the bit to those of the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from ranksrgan.contracts import atomic, cancellation
from ranksrgan.contracts.config import Config
from ranksrgan.contracts.errors import (
    DiskFull,
    InvalidDataset,
    InvalidInput,
    NotSupported,
)
from ranksrgan.contracts.folder_lock import locked
from ranksrgan.contracts.images import list_images
from ranksrgan.srgan.data.ahead import in_order
from ranksrgan.srgan.data.image_store import ImageEntry, read_entry

INDEX = "index.json"
PIXELS = "images.mdb"
FORMAT = 1

# No more than address space: the file takes what was written.
_MAP_BYTES = 2**40


class PackIndex(Config):
    """``index.json``.

    Attributes:
        format: version of this layout.
        bytes: size of ``images.mdb``.
        images: by name.
    """

    format: int
    bytes: int
    images: tuple[ImageEntry, ...]


def pack(
    folder: Path,
    output: Path,
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> PackIndex:
    """Pack the images of a folder, whole or not at all.

    Args:
        folder: of images.
        output: folder of the pack; another pack there is replaced, and a link to one stays.
        workers: threads that decode.
        progress: called with the images done and all images.

    Raises:
        InvalidInput: no folder, no image, ``output`` holds something else or cannot be replaced as
            a whole, or another process is writing it.
        InvalidImage, ImageTooLarge: an image that cannot be read.
        DiskFull: there is no room for it; nothing is left behind then.
        NotSupported: the package ``lmdb`` is not installed.
    """
    lmdb = _lmdb()
    paths = list_images(folder)
    _check_replaceable(output)
    target = output.resolve()
    retired = target.parent / f".{target.name}-old"
    with _alone(target.parent / f".{target.name}-unfinished") as fresh:
        try:
            _settle(target, retired)  # what a process has left that was killed
            index = _write(lmdb, paths, fresh, workers, progress)
            if target.exists():
                target.rename(retired)
            fresh.rename(target)
        except lmdb.Error as error:
            # LMDB reports a write that ended early, as on a full disk, as an I/O error.
            raise DiskFull(
                f"{output} cannot be written, is the disk full? ({error})", field=str(output)
            ) from error
        finally:
            _settle(target, retired)
    return index


def _settle(target: Path, retired: Path) -> None:
    """Away with the pack that was replaced, or back with it if none has come in its place."""
    if target.exists():
        shutil.rmtree(retired, ignore_errors=True)
    elif retired.exists():
        retired.rename(target)


def _check_replaceable(output: Path) -> None:
    """Whether a folder may take the place of ``output``, which need not be there."""
    if not output.exists():
        return
    names = {path.name for path in output.iterdir()} if output.is_dir() else {output.name}
    if names and not {INDEX} <= names <= {INDEX, PIXELS}:
        raise InvalidInput(
            f"{output} holds something else than a pack: name another folder", field=str(output)
        )
    if os.path.ismount(output):
        why = "something is mounted there"
    elif Path.cwd().is_relative_to(output.resolve()):
        why = "this command runs in it"
    else:
        return
    raise InvalidInput(
        f"{output} cannot be replaced as a whole, since {why}: name a folder in it",
        field=str(output),
    )


def is_pack(folder: Path) -> bool:
    """Whether ``folder`` is meant as a pack, be it a whole one or not."""
    return (folder / INDEX).is_file() or (folder / PIXELS).is_file()


def read_index(folder: Path) -> PackIndex:
    """The index of a pack, after a check that the pack is whole.

    Raises:
        InvalidDataset: there is none, it is damaged, cut short, or of a newer format.
    """
    path = folder / INDEX
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("format", FORMAT) != FORMAT:
            raise InvalidDataset(
                f"{path} is of format {content['format']}; this version reads {FORMAT}: update "
                "ranksrgan-srgan, or pack the images again",
                field=str(path),
            )
        index = PackIndex.model_validate(content)
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise InvalidDataset(
            f"{path} is missing or damaged; pack the images again", field=str(path)
        ) from error
    if not index.images:
        raise InvalidDataset(f"{path} lists no image; pack the images again", field=str(path))
    pixels = folder / PIXELS
    # Reading beyond the end of a mapped file kills the process.
    if not pixels.is_file() or pixels.stat().st_size != index.bytes:
        raise InvalidDataset(
            f"{pixels} is missing or was cut short; pack the images again", field=str(pixels)
        )
    return index


class PackedImages:
    """`ImageStore` of a pack; only the index is read at the start.

    Raises:
        InvalidDataset: see `read_index`.
        NotSupported: the package ``lmdb`` is not installed.
    """

    kept_bytes = 0

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.entries = list(read_index(self.folder).images)
        self._file = _open(self.folder / PIXELS)

    def window(self, index: int, top: int, left: int, height: int, width: int) -> Tensor:
        """See `ImageStore.window`."""
        entry = self.entries[index]
        with self._file.value(index) as value:
            if value is None or len(value) != entry.height * entry.width * 3:
                raise InvalidDataset(
                    f"{self.folder} has other pixels for {entry.name} than its index says; pack "
                    "the images again",
                    field=str(self.folder),
                )
            pixels = np.frombuffer(value, np.uint8).reshape(entry.height, entry.width, 3)
            part = pixels[top : top + height, left : left + width].transpose(2, 0, 1)
            return torch.from_numpy(np.array(part, order="C"))


class _File:
    """An LMDB file, opened once in a process: LMDB refuses a second time."""

    def __init__(self, path: Path) -> None:
        lmdb = _lmdb()
        self._path = path
        self._error = lmdb.Error
        try:
            self._environment = lmdb.open(
                str(path), subdir=False, readonly=True, lock=False, readahead=False
            )
        except lmdb.Error as error:
            raise self._unreadable(error) from error

    @contextmanager
    def value(self, place: int) -> Iterator[memoryview | None]:
        """The value of a place, in the mapped file: good until the block ends."""
        try:
            with self._environment.begin(buffers=True) as transaction:
                yield transaction.get(_key(place))
        except self._error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> InvalidDataset:
        return InvalidDataset(f"{self._path} cannot be read: {error}", field=str(self._path))


# By device and inode, which tell a file from another one that has taken its name.
_files: WeakValueDictionary[tuple[int, int], _File] = WeakValueDictionary()
_files_lock = threading.Lock()


def _open(path: Path) -> _File:
    status = path.stat()
    identity = status.st_dev, status.st_ino
    with _files_lock:
        file = _files.get(identity)
        if file is None:
            file = _files[identity] = _File(path)
    return file


def _write(
    lmdb: Any,
    paths: list[Path],
    folder: Path,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> PackIndex:
    entries: list[ImageEntry] = []
    path = folder / PIXELS
    with (
        lmdb.open(
            str(path), subdir=False, map_size=_MAP_BYTES, lock=False, sync=False
        ) as environment,
        closing(in_order(read_entry, paths, workers)) as found,
    ):
        for entry, pixels in found:
            cancellation.check()
            with environment.begin(write=True) as transaction:
                transaction.put(_key(len(entries)), pixels.numpy().tobytes(), append=True)
            entries.append(entry)
            if progress is not None:
                progress(len(entries), len(paths))
        environment.sync(True)
    index = PackIndex(format=FORMAT, bytes=path.stat().st_size, images=tuple(entries))
    atomic.write_text(folder / INDEX, index.model_dump_json(indent=1) + "\n")
    return index


@contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """An empty ``folder`` that no other process fills meanwhile, removed at the end.

    After a process that was killed the next one clears up.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder.parent}: {error.strerror}", field=str(folder)) from error
    with locked(folder, f"{folder} is being written by another process"):
        try:
            for leftover in folder.iterdir():
                leftover.unlink()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _key(place: int) -> bytes:
    return struct.pack(">I", place)


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise NotSupported(
            "packed images need the package lmdb: in the checkout, "
            "pip install 'packages/srgan[lmdb]'",
            field="lmdb",
        ) from error
    return lmdb
