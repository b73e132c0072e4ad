"""Where the crops of an image lie, and which of them a dataset keeps.

The published code keeps textured crops whose labels at its two most perceptual levels differ, and
200 of an image at most. Each of these filters is an option here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ranksrgan.metrics import patch_crops
from ranksrgan.metrics.reference import sharpness as mean_deviation
from ranksrgan.rankdata import chance
from ranksrgan.rankdata.config import WHOLE, BuildConfig
from ranksrgan.rankdata.labels import BATCH

BELOW_MIN_SHARPNESS = "below_min_sharpness"
BELOW_MIN_GAP = "below_min_gap"
ABOVE_MAX_CROPS = "above_max_crops"


class Box(NamedTuple):
    """Where a crop lies, in pixels."""

    top: int
    left: int
    height: int
    width: int


def boxes_of(height: int, width: int, config: BuildConfig) -> list[Box]:
    """The crops of an image, row by row; none if it is too small for one."""
    if config.crop == WHOLE:
        return [Box(0, 0, height, width)]
    size = config.crop
    rows, columns = (
        range(0, side - size + (1 if config.last_offset else 0), config.stride)
        for side in (height, width)
    )
    return [Box(top, left, size, size) for top in rows for left in columns]


def sharpness_of(image: Tensor, boxes: Sequence[Box], config: BuildConfig) -> list[float]:
    """Mean local deviation of crops, 0..255 scale: see `patch_crops`.

    Args:
        image: ``(1, 3, H, W)`` uint8.
        boxes: some of `boxes_of`.
        config: the one that made the boxes.
    """
    if config.crop == WHOLE:
        whole: list[float] = mean_deviation(image[None])[0].tolist()
        return whole
    return [
        value
        for some in in_batches(boxes)
        for value in patch_crops(cut(image, some), config.crop, 1).sharpness[:, 0].tolist()
    ]


def in_batches(boxes: Sequence[Box]) -> Iterator[Sequence[Box]]:
    """As many boxes at a time as a metric gets crops.

    For all that is done with pixels: together, the crops of an image that overlap are many times
    its size.
    """
    for start in range(0, len(boxes), BATCH):
        yield boxes[start : start + BATCH]


def cut(image: Tensor, boxes: Sequence[Box]) -> Tensor:
    """``(P, 3, height, width)`` crops of ``(1, 3, H, W)``; the boxes are of one size."""
    return torch.stack(
        [image[0, :, top : top + height, left : left + width] for top, left, height, width in boxes]
    )


class Crops:
    """The crops of one source image that have passed so far.

    Attributes:
        kept: their boxes, row by row.
        dropped: how many did not pass, by reason.
    """

    def __init__(self, boxes: Sequence[Box]) -> None:
        self.kept = list(boxes)
        self.dropped: Counter[str] = Counter()

    def keep_if(self, passes: Callable[[Box], bool], reason: str) -> None:
        """Drop those that do not pass."""
        self.drop({box: reason for box in self.kept if not passes(box)})

    def drop(self, reasons: Mapping[Box, str]) -> None:
        """Drop those that have a reason."""
        self.dropped.update(reasons.values())
        self.kept = [box for box in self.kept if box not in reasons]

    def cap(self, count: int | None, seed: int, source: str) -> None:
        """Keep so many, which the seed and the source's name choose."""
        chosen = chance.choose(
            self.kept, count, lambda box: chance.number(seed, "crops", source, str(tuple(box)))
        )
        self.dropped[ABOVE_MAX_CROPS] += len(self.kept) - len(chosen)
        self.kept = chosen
