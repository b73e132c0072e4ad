"""Near-duplicates: photographs that are one to the eye and two to a file system.

A perceptual hash in the form of pHash (C. Zauner, "Implementation and benchmarking of perceptual
image hash functions", 2010): the signs, about their median, of the lowest frequencies of a small
version of the image. Recompression, rescaling, brightness and a few pixels cut off leave nearly all
of its bits; other photographs share half of them.

`DISTANCE` was chosen by measuring. Of the 124,750 pairs of different photographs in BSDS500 (train
and test) and BSD100 the closest differ in 14 bits. JPEG at quality 30, other sizes and a x4
super-resolution's blur change at most 4 bits, 2 pixels cut off each side at most 6, 4 pixels at
most 8 in 99.8 % of the images, and 20 % more light at most 8 in 99.6 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from ranksrgan.metrics.luma import luma
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.degradation import read_rgb

#: Hashes that differ in at most so many bits are of near-duplicates.
DISTANCE = 8

_SMALL = 32
_LOW = 8

# Rows of the table of distances that are made at a time: with 10,000 images, 40 MB.
_ROWS = 512


def phash(image: Tensor) -> int:
    """The perceptual hash of an image.

    Its grey plane is averaged down to 32 x 32; of that plane's cosine transform the 8 x 8 lowest
    frequencies give one bit each, in rows from the highest bit down: 1 if the coefficient is above
    the median of the 63 without the constant, whose own bit is 0.

    Args:
        image: ``(1, 3, H, W)`` uint8, of any size.

    Returns:
        64 bits. 0 for an image of one colour.

    Raises:
        InvalidInput: another shape or type.
    """
    plane = luma(image, "gray", rounded=False)[0].float().cpu().numpy()
    small = cv2.resize(plane, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small)[:_LOW, :_LOW].ravel()[1:]
    # Rounding errors of frequencies that are not there decide nothing.
    low = np.round(low, 2)
    bits = low > np.median(low)
    return int.from_bytes(np.packbits(np.concatenate(([False], bits))).tobytes(), "big")


def near_duplicates(hashes: Mapping[str, int], distance: int = DISTANCE) -> list[tuple[str, ...]]:
    """Groups of images whose hashes are close.

    Args:
        hashes: of `phash`, by name.
        distance: two images belong together if their hashes differ in at most so many bits, or if
            a chain of such images joins them.

    Returns:
        The groups of two and more, names sorted within each and groups by their first name.
    """
    values, inverse = np.unique(
        np.array(list(hashes.values()), dtype=np.uint64), return_inverse=True
    )
    parent = list(range(len(values)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for first, second in _close_pairs(values, distance):
        parent[root(first)] = root(second)
    groups: dict[int, list[str]] = {}
    for name, index in zip(hashes, inverse.tolist(), strict=True):
        groups.setdefault(root(index), []).append(name)
    return sorted(tuple(sorted(names)) for names in groups.values() if len(names) > 1)


@dataclass(frozen=True)
class Leaks:
    """What a Ranker's validation would have seen in its training.

    Attributes:
        sources: names that are in more than one split. Empty for every dataset that was opened
            from a folder, since opening refuses others.
        duplicates: groups of near-duplicates that reach over two splits: the split of each source
            by its name.
    """

    sources: tuple[str, ...]
    duplicates: tuple[Mapping[str, str], ...]

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self.sources or self.duplicates)


def leaks(dataset: RankDataset, distance: int = DISTANCE) -> Leaks:
    """Look for sources, or near-duplicates of them, in more than one split of a dataset.

    Each source is judged by its original, or where there is none by its first version: the hash
    changes little from one version to another.

    Raises:
        InvalidImage: an image is damaged.
    """
    splits: dict[str, set[str]] = {}
    for content in dataset.contents:
        splits.setdefault(content.source, set()).add(content.split)
    originals = [level.name for level in dataset.record.levels if level.kind == "hr"]
    preferred = (*originals, *dataset.levels)
    hashes = {}
    for source in splits:
        level = next(level for level in preferred if (level, source) in dataset.hashes)
        hashes[source] = phash(read_rgb(dataset.image_path(level, source)))
    split = {source: min(names) for source, names in splits.items()}
    groups = ({name: split[name] for name in group} for group in near_duplicates(hashes, distance))
    return Leaks(
        sources=tuple(sorted(source for source, names in splits.items() if len(names) > 1)),
        duplicates=tuple(group for group in groups if len(set(group.values())) > 1),
    )


def _close_pairs(values: npt.NDArray[np.uint64], distance: int) -> list[tuple[int, int]]:
    """Indices of the hashes that differ in at most ``distance`` bits, each pair once."""
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(values), _ROWS):
        rows = values[start : start + _ROWS]
        close = np.bitwise_count(rows[:, None] ^ values[None, start:]) <= distance
        first, second = np.nonzero(np.triu(close, 1))
        pairs += zip((first + start).tolist(), (second + start).tolist(), strict=True)
    return pairs
