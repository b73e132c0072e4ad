"""Packing a dataset's crops for training at scale. `packed_images` reads them.

A crop that is cut from a PNG costs the decoding of a whole image, unless that is in memory already;
with hundreds of gigabytes of level images it hardly ever is. A pack holds the pixels of every crop
as they are, one after the other, in LMDB files of about a gigabyte::

    pack/index.json   format, fingerprint of the dataset, which contents are in which file
    pack/00000.mdb    key: place of the content (4 bytes) and of the level (2), high byte first
                      value: 3 x height x width bytes, red, green, blue

It takes the room that overlapping crops take uncompressed, some times that of the PNGs. Crops from
it are equal to the bit, so a training may change from one to the other.
"""

from __future__ import annotations

import json
import mmap
import shutil
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
from pydantic import ValidationError

from ranksrgan.contracts import atomic, cancellation
from ranksrgan.contracts.config import Config
from ranksrgan.contracts.errors import DiskFull, InvalidDataset, InvalidInput
from ranksrgan.contracts.folder_lock import locked
from ranksrgan.rankdata.crops import LevelImages
from ranksrgan.rankdata.dataset import Content, RankDataset

if TYPE_CHECKING:
    from ranksrgan.rankdata.building.build import Progress

PACK = "pack"
INDEX = "index.json"
FORMAT = 1
SHARD_BYTES = 2**30

# A transaction keeps its pages in memory until it is committed.
_TRANSACTION_BYTES = 64 * 2**20


class Shard(Config):
    """One file of a pack.

    Attributes:
        file: its name.
        first: place of its first content among the dataset's.
        contents: how many there are.
        bytes: size of the file.
    """

    file: str
    first: int
    contents: int
    bytes: int


class PackIndex(Config):
    """``index.json``.

    Attributes:
        format: version of this layout.
        fingerprint: of all contents of the dataset that was packed.
        shards: in order.
    """

    format: int
    fingerprint: str
    shards: tuple[Shard, ...]

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(shard.bytes for shard in self.shards)


def pack(
    folder: Path, *, shard_bytes: int = SHARD_BYTES, progress: Progress | None = None
) -> PackIndex:
    """Pack a dataset into its folder ``pack``, whole or not at all.

    A pack of this very state of the dataset is left as it is, another one is replaced.

    Args:
        folder: of the dataset.
        shard_bytes: a file is closed when the next content would make it larger.
        progress: called with the contents done, all contents, and the source's name.

    Raises:
        InvalidDataset: not a dataset, or a level image that was changed after it was labelled.
        InvalidInput: another process is packing it; or a shard of less than one byte.
        DiskFull: there is no room for it; nothing is left behind then.
    """
    if shard_bytes < 1:
        raise InvalidInput(f"shard_bytes={shard_bytes}: 1 or more is wanted", field="shard_bytes")
    dataset = RankDataset.open(folder, check_hashes=True)
    with locked(dataset.folder, f"{dataset.folder} is being packed by another process"):
        try:
            return read_index(dataset)
        except InvalidDataset:
            pass  # none, a stale or a damaged one
        target = dataset.folder / PACK
        fresh, retired = (dataset.folder / f".{PACK}-{name}" for name in ("unfinished", "old"))
        for leftover in (fresh, retired):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        shards = _plan(dataset.contents, shard_bytes)
        _check_room(dataset, shards)
        fresh.mkdir()
        try:
            index = _write(dataset, shards, fresh, progress)
            if target.exists():
                target.rename(retired)
            fresh.rename(target)
        except lmdb.Error as error:
            # LMDB reports a write that ended early, as on a full disk, as an I/O error.
            raise DiskFull(
                f"{target} cannot be written, is the disk full? ({error})", field=str(target)
            ) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.rmtree(retired, ignore_errors=True)
        return index


def read_index(dataset: RankDataset) -> PackIndex:
    """The index of a dataset's pack, after a check that the pack is whole and of this dataset.

    Raises:
        InvalidDataset: there is none, it is damaged or of a newer format, or the dataset is not
            what was packed.
    """
    folder = dataset.folder / PACK
    path = folder / INDEX
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("format", FORMAT) != FORMAT:
            raise InvalidDataset(
                f"{path} is of format {content['format']}; this version reads {FORMAT}: update "
                "ranksrgan-rankdata, or pack the dataset again",
                field=str(path),
            )
        index = PackIndex.model_validate(content)
    except FileNotFoundError as error:
        raise InvalidDataset(
            f"{dataset.folder} is not packed: ranksrgan-rankdata pack {dataset.folder}",
            field=str(path),
        ) from error
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise InvalidDataset(
            f"{path} is damaged; pack the dataset again", field=str(path)
        ) from error
    if index.fingerprint != dataset.fingerprint(dataset.contents):
        raise InvalidDataset(
            f"{folder} was packed from another state of the dataset; pack it again",
            field=str(folder),
        )
    for shard in index.shards:
        file = folder / shard.file
        # Reading beyond the end of a mapped file kills the process.
        if not file.is_file() or file.stat().st_size != shard.bytes:
            raise InvalidDataset(
                f"{file} is missing or was cut short; pack the dataset again", field=str(file)
            )
    return index


def key(content: int, level: int) -> bytes:
    """Of a crop, by the places of its content and level in the dataset."""
    return struct.pack(">IH", content, level)


def _plan(contents: Sequence[Content], shard_bytes: int) -> list[range]:
    """Which contents go together."""
    shards: list[range] = []
    first, size = 0, 0
    for place, content in enumerate(contents):
        needed = _payload(content)
        if place > first and size + needed > shard_bytes:
            shards.append(range(first, place))
            first, size = place, 0
        size += needed
    return [*shards, range(first, len(contents))]


def _check_room(dataset: RankDataset, shards: Sequence[range]) -> None:
    needed = sum(_payload(content) for content in dataset.contents)
    free = shutil.disk_usage(dataset.folder).free
    if free < needed:
        raise DiskFull(
            f"a pack of {dataset.folder} takes {needed / 1e9:.1f} GB in {len(shards)} file(s); "
            f"its disk has {free / 1e9:.1f} GB left",
            field=str(dataset.folder),
        )


def _write(
    dataset: RankDataset, shards: Sequence[range], folder: Path, progress: Progress | None
) -> PackIndex:
    images = LevelImages(dataset)
    places = {level: place for place, level in enumerate(dataset.levels)}
    written = []
    for number, chosen in enumerate(shards):
        path = folder / f"{number:05}.mdb"
        contents = [dataset.contents[place] for place in chosen]
        # An upper bound, and no more than address space: every value may waste most of a page.
        values = sum(len(content.levels) for content in contents)
        room = sum(map(_payload, contents)) * 9 // 8 + 2 * mmap.PAGESIZE * values + 2**24
        with lmdb.open(
            str(path), subdir=False, map_size=room, lock=False, sync=False
        ) as environment:
            for batch in _batches(chosen, dataset.contents):
                cancellation.check()
                with environment.begin(write=True) as transaction:
                    for place in batch:
                        content = dataset.contents[place]
                        for level in content.levels:
                            data = images.pixels(level, content).numpy().tobytes()
                            transaction.put(key(place, places[level]), data, append=True)
                if progress is not None:
                    done = batch[-1] + 1
                    progress(done, len(dataset.contents), dataset.contents[batch[-1]].source)
            environment.sync(True)
        written.append(
            Shard(
                file=path.name,
                first=chosen.start,
                contents=len(chosen),
                bytes=path.stat().st_size,
            )
        )
    index = PackIndex(
        format=FORMAT, fingerprint=dataset.fingerprint(dataset.contents), shards=tuple(written)
    )
    atomic.write_text(folder / INDEX, index.model_dump_json(indent=2) + "\n")
    return index


def _batches(chosen: range, contents: Sequence[Content]) -> Iterator[range]:
    """Parts of a shard that fit into memory."""
    first, size = chosen.start, 0
    for place in chosen:
        size += _payload(contents[place])
        if size >= _TRANSACTION_BYTES:
            yield range(first, place + 1)
            first, size = place + 1, 0
    if first < chosen.stop:
        yield range(first, chosen.stop)


def _payload(content: Content) -> int:
    return 3 * content.height * content.width * len(content.levels)
