"""The rank datasets in a server's data root."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import RankSRGANError, ServiceUnavailable
from ranksrgan.contracts.pairs import (
    Pair,
    PairSelection,
    RankDatasetInfo,
    RankedContent,
    RankedInfo,
)
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.folder import holds_dataset
from ranksrgan.rankdata.manifest import RECORD
from ranksrgan.rankdata.pairs import FolderPairSource, PairDataset

DATASETS = "datasets"

#: Datasets that stay open though nobody reads them, and bytes of decoded images in each.
KEPT_OPEN, CACHE_BYTES = 4, 256 * 2**20

Item = TypeVar("Item")

# Tells a dataset from another one that has taken its name.
_Stamp = tuple[int, int]

log = logging.getLogger(__name__)


class DatasetCatalog:
    """`RankDataCatalog` over the folder ``datasets`` of a data root.

    A dataset that is read by several at a time, in the same selection, is open once.
    """

    def __init__(self, root: DataRoot) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._infos: dict[str, tuple[_Stamp, RankDatasetInfo]] = {}
        self._open: WeakValueDictionary[tuple[str, _Stamp, PairSelection], SharedPairs] = (
            WeakValueDictionary()
        )
        self._kept: deque[SharedPairs] = deque(maxlen=KEPT_OPEN)

    def infos(self, after: str, limit: int) -> list[RankDatasetInfo]:
        """The first ``limit`` complete datasets whose names come after ``after``, by name."""
        found: list[RankDatasetInfo] = []
        for name in self._root.names(DATASETS):
            if len(found) == limit:
                break
            if name <= after or not holds_dataset(self._root.place(name, DATASETS, "dataset")):
                continue
            try:
                found.append(self.info(name))
            except RankSRGANError as error:
                log.warning("%s is left out of the list: %s", name, error)
        return found

    def info(self, name: str) -> RankDatasetInfo:
        """The facts of one.

        Raises:
            UnknownName: there is none of that name.
            InvalidDataset: it is damaged.
        """
        folder = self._root.find(name, DATASETS, "dataset")
        stamp = _stamp(folder)
        known = self._infos.get(name)
        if known is not None and known[0] == stamp:
            return known[1]
        with self._root.hiding_paths():
            info = describe(name, RankDataset.open(folder))
        self._infos[name] = stamp, info
        return info

    def open(self, name: str, selection: PairSelection) -> SharedPairs:
        """What is in one; raises as `info`, and InvalidDataset if it has no such split."""
        folder = self._root.find(name, DATASETS, "dataset")
        key = name, _stamp(folder), selection
        with self._lock:
            pairs = self._open.get(key)
            if pairs is None:
                with self._root.hiding_paths():
                    dataset = PairDataset(
                        RankDataset.open(folder),
                        selection.split,
                        ties=selection.ties,
                        min_gap=selection.min_gap,
                        cache_bytes=CACHE_BYTES,
                    )
                pairs = self._open[key] = SharedPairs(dataset, self._root, name, key[1])
            if pairs in self._kept:
                self._kept.remove(pairs)
            self._kept.append(pairs)
        return pairs


class SharedPairs:
    """`StoredPairs` over an open dataset: several streams read it, one item at a time.

    Images are read when their turn comes, so every stream ends with ServiceUnavailable once the
    dataset is no longer what was opened.

    Args:
        pairs: what is read.
        root: which messages do not name.
        name: of the dataset, as clients know it.
        stamp: of the dataset, from before it was opened.
    """

    def __init__(self, pairs: PairDataset, root: DataRoot, name: str, stamp: _Stamp) -> None:
        self._pairs = pairs
        self._source = FolderPairSource(pairs)
        self._root = root
        self._name = name
        self._stamp = stamp
        self._lock = threading.Lock()

    @property
    def info(self) -> RankedInfo:
        return self._source.info

    def pairs(self, seed: int, start: int = 0, step: int = 1) -> Iterator[Pair]:
        """See `FolderPairSource.pairs`."""
        with self._root.hiding_paths():
            return self._in_turn(self._source.pairs(seed, start, step))

    def shuffled_contents(
        self, seed: int, start: int = 0, step: int = 1
    ) -> Iterator[RankedContent]:
        """See `FolderPairSource.shuffled_contents`."""
        with self._root.hiding_paths():
            return self._in_turn(self._source.shuffled_contents(seed, start, step))

    def contents(self, start: int = 0, step: int = 1) -> Iterator[RankedContent]:
        """See `FolderPairSource.contents`; only every ``step``-th from ``start`` on."""
        chosen = range(start, len(self._pairs.contents), step)
        return self._in_turn(self._pairs.versions(index) for index in chosen)

    def _in_turn(self, items: Iterator[Item]) -> Iterator[Item]:
        while True:
            with self._lock, self._root.hiding_paths():
                try:
                    item = next(items, None)
                finally:
                    # After the images were read, and where one was not there any more.
                    self._require_unchanged()
            if item is None:
                return
            yield item

    def _require_unchanged(self) -> None:
        if _stamp(self._pairs.dataset.folder) != self._stamp:
            raise ServiceUnavailable(
                f"{self._name} was replaced or removed while it was read; open it again",
                field="dataset",
            )


def describe(name: str, dataset: RankDataset) -> RankDatasetInfo:
    """What the service tells about a dataset.

    Args:
        name: as clients know it.
        dataset: the opened dataset.
    """
    contents = Counter(content.split for content in dataset.contents)
    sources = Counter(split for _, split in {(c.source, c.split) for c in dataset.contents})
    sides = {side for content in dataset.contents for side in (content.height, content.width)}
    record = dataset.record
    lost = {
        "sources_not_chosen": record.counts.sources_not_chosen,
        "sources_smaller_than_crop": record.counts.sources_smaller_than_crop,
        "sources_without_kept_crop": record.counts.sources_without_kept_crop,
    }
    return RankDatasetInfo(
        name=name,
        metric=record.metric.name,
        higher_is_better=record.metric.higher_is_better,
        levels=dataset.levels,
        sources={split: sources[split] for split in dataset.splits},
        contents={split: contents[split] for split in dataset.splits},
        dropped={
            reason: count
            for reason, count in {**record.counts.crops_dropped, **lost}.items()
            if count
        },
        crop=sides.pop() if len(sides) == 1 else 0,
        further={info.name: info.higher_is_better for info in record.further},
        created=_created(dataset),
    )


def _created(dataset: RankDataset) -> datetime:
    """When the build began, as its record says; else when the record was written."""
    try:
        began = datetime.fromisoformat(str(dataset.record.run.get("started")))
    except ValueError:
        return datetime.fromtimestamp((dataset.folder / RECORD).stat().st_mtime, UTC)
    return began if began.tzinfo else began.replace(tzinfo=UTC)


def _stamp(folder: Path) -> _Stamp:
    """Of the record; a folder without one is no dataset, which opening it will say."""
    try:
        status = (folder / RECORD).stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns
