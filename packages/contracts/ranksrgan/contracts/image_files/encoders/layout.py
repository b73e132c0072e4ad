"""What a writer has to know before the first strip, and the strips as it takes them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from ranksrgan.contracts.image_files import exif
from ranksrgan.contracts.image_files.picture import Metadata, Picture, Pixels

log = logging.getLogger(__name__)

# What an ICC profile is for stands there (ICC.1:2022, 7.2.8).
_COLOUR_SPACE = slice(16, 20)


@dataclass(frozen=True)
class Layout:
    """The shape of a picture that is written.

    Attributes:
        height: in pixels.
        width: in pixels.
        channels: 3 (RGB) or 1 (grey), not counting alpha.
        alpha: whether there is an alpha channel.
        depth: 255 or 65535, the largest value.
        metadata: as its picture has it; an EXIF block is written with the size above.
    """

    height: int
    width: int
    channels: int
    alpha: bool
    depth: int
    metadata: Metadata = field(default_factory=Metadata)

    @classmethod
    def of(cls, picture: Picture) -> Layout:
        return cls(
            picture.height,
            picture.width,
            picture.colour.shape[2],
            picture.alpha is not None,
            picture.depth,
            picture.metadata,
        )

    def in_colour(self) -> Layout:
        """The same picture in three channels.

        A grey one loses a profile that is for grey: readers refuse, or misread, RGB with such.
        """
        metadata = self.metadata
        if self.channels == 1 and (metadata.icc_profile or b"")[_COLOUR_SPACE] == b"GRAY":
            log.warning(
                "a grey picture is stored in three channels, and its ICC profile, which is one of "
                "greys, is left out; PNG would keep it"
            )
            metadata = replace(metadata, icc_profile=None)
        return replace(self, channels=3, metadata=metadata)

    @property
    def samples(self) -> int:
        """Channels, alpha included."""
        return self.channels + self.alpha

    @property
    def exif(self) -> bytes | None:
        """The EXIF block with the size of this picture."""
        block = self.metadata.exif
        return block and exif.with_size(block, self.width, self.height)


def interleaved(strip: Picture) -> Pixels:
    """``(h, W, samples)``: colour and, if there is one, alpha."""
    if strip.alpha is None:
        return strip.colour
    return cast(Pixels, np.dstack([strip.colour, strip.alpha]))


class Regrouped:
    """Rows that come in strips of any height, and leave in strips of one height.

    Args:
        rows: of the strips that leave.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._kept: list[Pixels] = []
        self._count = 0

    def add(self, pixels: Pixels) -> Iterator[Pixels]:
        """Take rows; yields the strips that are full now."""
        self._kept.append(pixels)
        self._count += len(pixels)
        if self._count < self._rows:
            return
        joined = cast(Pixels, np.concatenate(self._kept))
        full = self._count - self._count % self._rows
        # A copy, so that a short rest does not keep all of it alive.
        self._kept, self._count = [joined[full:].copy()], self._count - full
        for top in range(0, full, self._rows):
            yield joined[top : top + self._rows]

    def rest(self) -> Iterator[Pixels]:
        """The last strip, which may be lower than the others, if there is one."""
        if self._count:
            yield cast(Pixels, np.concatenate(self._kept))
