"""Labelled pairs from a rank dataset, in a reproducible order.

A pair is two levels of one content. Its label is +1 if the first has the larger metric value, -1 if
the second has it. A pair whose values differ by no more than ``min_gap`` is a tie: it has no order
to learn, so it is dropped unless asked for (then its label is 0).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch.utils.data import Dataset

from ranksrgan.contracts import Pair, RankedContent, RankedInfo
from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.contracts.pairs import PairSelection, Ties
from ranksrgan.rankdata.crops import DEFAULT_CACHE_BYTES, LevelImages
from ranksrgan.rankdata.dataset import Content, RankDataset
from ranksrgan.rankdata.folder import holds_dataset
from ranksrgan.rankdata.judged_folder import JudgedFolder, is_judged_folder, open_judged_folder
from ranksrgan.rankdata.level_specs import HR
from ranksrgan.rankdata.order import check_place, order, shuffled
from ranksrgan.rankdata.packed_images import Images, open_crops


class _Order(NamedTuple):
    """Level ``a`` against level ``b`` of a content, all by index."""

    content: int
    a: int
    b: int
    label: float


class PairDataset(Dataset[Pair]):
    """Every labelled pair of a split, in a fixed order; levels in the dataset's order.

    Args:
        dataset: an opened dataset.
        split: one split; None for all.
        ties: ``"drop"``, or ``"keep"`` with label 0.
        min_gap: values have to differ by more than this to have an order. The published code wants
            0.1 (of NIQE) between its two most perceptual levels.
        images: ``"png"``, ``"pack"``, or ``"auto"``: the pack if there is one of this state of the
            dataset. What is read is the same.
        cache_bytes: of decoded level images kept in memory, if they are what is read.

    Raises:
        InvalidInput: an unknown tie policy, a negative gap, no such kind of images.
        InvalidDataset: no such split; or no pack that can be used, where one is asked for.
    """

    def __init__(
        self,
        dataset: RankDataset,
        split: str | None = None,
        *,
        ties: Ties = "drop",
        min_gap: float = 0.0,
        images: Images = "auto",
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        PairSelection(split, ties, min_gap)  # checks them
        self.dataset = dataset
        self.split = split
        self.ties = ties
        self.min_gap = min_gap
        self.contents = dataset.select(split)
        self._crops = open_crops(dataset, images, cache_bytes)
        self._references = LevelImages(dataset, cache_bytes)
        # A level called hr of whatever else is no original; datasets of today have none.
        originals = [level.name for level in dataset.record.levels if level.kind == HR]
        self._original = next(iter(originals), HR)
        self._orders = [
            _Order(index, a, b, label)
            for index, content in enumerate(self.contents)
            for a, b in combinations(range(len(content.levels)), 2)
            if (label := order(content.scores[a], content.scores[b], min_gap)) or ties == "keep"
        ]

    def __len__(self) -> int:
        return len(self._orders)

    def __getitem__(self, index: int) -> Pair:
        """Two ``(3, height, width)`` float32 images in [0, 1] and the label of the first."""
        which = self._orders[index]
        content = self.contents[which.content]
        return Pair(
            self._crops.crop(content.levels[which.a], content),
            self._crops.crop(content.levels[which.b], content),
            which.label,
        )

    @property
    def ordered(self) -> list[int]:
        """The contents that have a pair, by index."""
        return sorted({which.content for which in self._orders})

    @property
    def ordered_contents(self) -> list[Content]:
        """The contents that have a pair."""
        return [self.contents[index] for index in self.ordered]

    def versions(self, index: int) -> RankedContent:
        """All levels of content ``index`` with their scores."""
        content = self.contents[index]
        further = zip(self.dataset.record.further, content.further, strict=True)
        return RankedContent(
            content.name,
            content.levels,
            torch.stack([self._crops.crop(level, content) for level in content.levels]),
            torch.tensor(content.scores, dtype=torch.float64),
            {info.name: torch.tensor(values, dtype=torch.float64) for info, values in further},
            self._reference(content),
        )

    def _reference(self, content: Content) -> torch.Tensor | None:
        """The original, unless it is the level hr: the level that it is, or what people's
        judgements are stored with, see `ranksrgan.rankdata.human`."""
        if self._original != HR:
            return self._crops.crop(self._original, content)
        if HR in content.levels:
            return None
        # Datasets of earlier versions may have one that their record does not tell of.
        known = content.source in self.dataset.record.references
        if not (known or self.dataset.image_path(HR, content.source).is_file()):
            return None
        return self._references.crop(HR, content)


class FolderPairSource:
    """A `PairSource` over a dataset's folder.

    Each epoch is a permutation of all pairs that ``(seed, epoch)`` fixes; with the same generator
    the two members of each pair change places at random (the label with them), so that their order
    says nothing. Nothing is flipped or rotated: metrics such as NIQE change under it.
    """

    def __init__(self, pairs: PairDataset) -> None:
        self._pairs = pairs
        dataset = pairs.dataset
        policy = f"{pairs.split} {pairs.ties} {pairs.min_gap}"
        made = hashlib.sha256((dataset.fingerprint(pairs.contents) + policy).encode())
        self._info = RankedInfo(
            metric=dataset.metric.name,
            higher_is_better=dataset.metric.higher_is_better,
            levels=dataset.levels,
            contents=len(pairs.contents),
            pairs=len(pairs),
            fingerprint=made.hexdigest(),
            further={info.name: info.higher_is_better for info in dataset.record.further},
            one_size=len({(c.height, c.width) for c in pairs.ordered_contents}) < 2,
            infinite=dict(_infinite(dataset, pairs.ordered_contents)),
            widest=_widest(dataset, pairs.ordered_contents),
        )

    @property
    def info(self) -> RankedInfo:
        return self._info

    def pairs(self, seed: int, start: int = 0, step: int = 1) -> Iterator[Pair]:
        """See `PairSource.pairs`.

        Raises:
            InvalidInput: ``start`` is negative, or ``step`` below 1.
            InvalidDataset: there is no pair, since all are ties.
        """
        self._check(start, step)
        return self._pairs_from(seed, start, step)

    def shuffled_contents(
        self, seed: int, start: int = 0, step: int = 1
    ) -> Iterator[RankedContent]:
        """See `PairSource.shuffled_contents`.

        Raises:
            InvalidInput: ``start`` is negative, or ``step`` below 1.
            InvalidDataset: no content has an order.
        """
        self._check(start, step)
        ordered = self._pairs.ordered
        return (
            self._pairs.versions(ordered[index])
            for index, _ in shuffled(len(ordered), seed, start, step)
        )

    def contents(self) -> Iterator[RankedContent]:
        """See `PairSource.contents`: by source and box."""
        return (self._pairs.versions(index) for index in range(len(self._pairs.contents)))

    def _pairs_from(self, seed: int, start: int, step: int) -> Iterator[Pair]:
        for index, swap in shuffled(len(self._pairs), seed, start, step):
            pair = self._pairs[index]
            # `0 - label` and not `-label`: a tie's label stays 0.0.
            yield Pair(pair.b, pair.a, 0.0 - pair.label) if swap else pair

    def _check(self, start: int, step: int) -> None:
        check_place(start, step)
        if not len(self._pairs):
            raise InvalidDataset(
                f"{self._pairs.dataset.folder} has no pair with an order: every pair is a tie",
                field="ties",
            )


def _infinite(dataset: RankDataset, contents: Iterable[Content]) -> Iterator[tuple[str, str]]:
    """Metrics with infinite values, each with a level of the last content that has one."""
    for content in contents:
        for name, values in _values(dataset, content):
            for level, value in zip(content.levels, values, strict=True):
                if math.isinf(value):
                    yield name, level


def _widest(dataset: RankDataset, contents: Iterable[Content]) -> dict[str, float]:
    """How far two versions of a content are apart at most, by metric; empty without contents."""
    found: dict[str, float] = {}
    for content in contents:
        for name, values in _values(dataset, content):
            found[name] = max(found.get(name, 0.0), max(values) - min(values))
    return found


def _values(dataset: RankDataset, content: Content) -> Iterator[tuple[str, tuple[float, ...]]]:
    """What each metric says of the versions of a content."""
    names = [dataset.metric.name, *(info.name for info in dataset.record.further)]
    return zip(names, (content.scores, *content.further), strict=True)


def open_rank_dataset(folder: str, options: Mapping[str, str]) -> FolderPairSource | JudgedFolder:
    """Entry point ``rankdataset``.

    Args:
        folder: of the dataset, or of PIPAL or TID2013 as they are, see `open_judged_folder`.
        options: ``split`` (all without it), ``ties`` (drop or keep), ``min_gap``, ``images`` (png,
            pack or auto).

    Raises:
        InvalidInput: an unknown option or a value it cannot have.
        InvalidDataset: see `RankDataset.open` and `PairDataset`.
    """
    if not holds_dataset(Path(folder)) and is_judged_folder(Path(folder)):
        return open_judged_folder(Path(folder), options)
    selection = PairSelection.from_options(options, beside={"images"})
    return FolderPairSource(
        PairDataset(
            RankDataset.open(Path(folder)),
            selection.split,
            ties=selection.ties,
            min_gap=selection.min_gap,
            images=cast(Images, options.get("images", "auto")),
        )
    )
