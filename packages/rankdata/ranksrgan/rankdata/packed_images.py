"""Reading crops from a dataset's pack, or from wherever they are to be had."""

from __future__ import annotations

import bisect
import logging
import os
import threading
from pathlib import Path
from typing import Any, Literal, get_args
from weakref import WeakValueDictionary

import lmdb
import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.rankdata.crops import DEFAULT_CACHE_BYTES, CropReader, LevelImages
from ranksrgan.rankdata.dataset import Content, RankDataset
from ranksrgan.rankdata.pack import PACK, key, read_index

#: Where crops are read from; ``auto`` is the pack where there is one of this state of the dataset.
Images = Literal["png", "pack", "auto"]

_log = logging.getLogger(__name__)


def open_crops(
    dataset: RankDataset, images: Images = "auto", cache_bytes: int = DEFAULT_CACHE_BYTES
) -> CropReader:
    """The crops of a dataset from where ``images`` says.

    ``auto`` passes over a pack that cannot be used, with a line in the log.

    Raises:
        InvalidInput: no such place.
        InvalidDataset: ``pack`` is asked for, and `PackedImages` refuses it.
    """
    if images not in get_args(Images):
        raise InvalidInput(f"images={images}: png, pack or auto is wanted", field="images")
    if images == "pack" or (images == "auto" and (dataset.folder / PACK).exists()):
        try:
            return PackedImages(dataset)
        except InvalidDataset as error:
            if images == "pack":
                raise
            _log.warning("%s; the level images are read instead", error)
    return LevelImages(dataset, cache_bytes)


class PackedImages:
    """CropReader from a dataset's pack.

    The files are opened when they are first read, once in each process, for however many objects
    of this class. It may be sent to other processes and survives a fork.

    Args:
        dataset: whose pack.

    Raises:
        InvalidDataset: there is none, it is damaged, or of another state of the dataset.
    """

    def __init__(self, dataset: RankDataset) -> None:
        index = read_index(dataset)
        self._folder = dataset.folder / PACK
        self._shards = [_open_shard(self._folder / shard.file) for shard in index.shards]
        self._firsts = [shard.first for shard in index.shards]
        self._levels = {level: place for place, level in enumerate(dataset.levels)}
        self._contents = {_box(content): place for place, content in enumerate(dataset.contents)}

    def pixels(self, level: str, content: Content) -> Tensor:
        """See `CropReader.pixels`.

        Raises:
            InvalidDataset: the pack has no such crop, or was replaced since.
        """
        shape = (3, content.height, content.width)
        place = self._contents.get(_box(content))
        data = None
        if place is not None and level in self._levels:
            shard = self._shards[bisect.bisect(self._firsts, place) - 1]
            data = shard.read(key(place, self._levels[level]))
        if data is None or len(data) != 3 * content.height * content.width:
            raise InvalidDataset(
                f"{self._folder} has no crop {content.name} of {content.height} x {content.width} "
                f"pixels at level {level}; pack the dataset again",
                field=str(self._folder),
            )
        return torch.frombuffer(data, dtype=torch.uint8).view(shape)

    def crop(self, level: str, content: Content) -> Tensor:
        """See `CropReader.crop`; raises what `pixels` raises."""
        return self.pixels(level, content).float() / 255


class _Shard:
    """A file of a pack, opened once in a process: LMDB refuses a second time."""

    def __init__(self, path: Path, identity: tuple[int, int]) -> None:
        self._path = path
        self._identity = identity
        self._lock = threading.Lock()
        self._environment: lmdb.Environment | None = None
        self._process = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_shard, (self._path,)

    def read(self, key: bytes) -> bytearray | None:
        """A copy of the value of ``key``, if there is one."""
        try:
            with self._lock:
                environment = self._opened()
            with environment.begin(buffers=True) as transaction:
                value = transaction.get(key)
                return None if value is None else bytearray(value)
        except (OSError, lmdb.Error) as error:
            raise InvalidDataset(
                f"{self._path} cannot be read: {error}", field=str(self._path)
            ) from error

    def _opened(self) -> lmdb.Environment:
        if self._environment is not None and self._process != os.getpid():
            self._environment.close()  # what a fork has left: good for its parent alone
            self._environment = None
        if self._environment is None:
            environment = lmdb.open(
                str(self._path), subdir=False, readonly=True, lock=False, readahead=False
            )
            if _identity(self._path) != self._identity:
                environment.close()
                raise InvalidDataset(
                    f"{self._path} was packed again while it was in use; open the dataset again",
                    field=str(self._path),
                )
            self._environment, self._process = environment, os.getpid()
        return self._environment


_shards: WeakValueDictionary[tuple[int, int], _Shard] = WeakValueDictionary()
_shards_lock = threading.Lock()


def _open_shard(path: Path) -> _Shard:
    try:
        identity = _identity(path)
    except OSError as error:
        raise InvalidDataset(f"{path}: {error.strerror}", field=str(path)) from error
    with _shards_lock:
        shard = _shards.get(identity)
        if shard is None:
            shard = _shards[identity] = _Shard(path, identity)
    return shard


def _identity(path: Path) -> tuple[int, int]:
    """Tells a file from another one that has taken its name."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _box(content: Content) -> tuple[str, int, int, int, int]:
    return content.source, content.top, content.left, content.height, content.width
