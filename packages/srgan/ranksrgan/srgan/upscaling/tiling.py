"""Cutting an image into tiles that overlap, so that nobody can tell.

An output pixel of a convolutional network depends on the input up to its reach away. A tile
therefore carries a halo of that many real pixels on every side, which is cropped from its result;
at the border of the image, where there are none, the tile ends with the image, so that the network
pads it with the same zeros as it pads the whole. What is left equals the whole-image result but for
the order of floating-point sums.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput

# How many feature maps of the output's resolution a network holds at its peak, around the last
# shuffle. Measured on the CPU with SRResNet at scales 2, 3 and 4: 2.2 to 2.9, convolution scratch
# included.
_MAPS_AT_PEAK = 3


class Box(NamedTuple):
    """Rows ``top`` to ``bottom``, columns ``left`` to ``right``; the ends are excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def within(self, outer: Box, scale: int = 1) -> tuple[slice, slice]:
        """The rows and columns that hold this box in an array that holds ``outer``."""
        return (
            slice(scale * (self.top - outer.top), scale * (self.bottom - outer.top)),
            slice(scale * (self.left - outer.left), scale * (self.right - outer.left)),
        )

    def folded(self, side: int) -> Box:
        """The box, if squares of ``side`` x ``side`` pixels from the origin on become one each.

        Squares of which it has a part belong to it.
        """
        ends = -(-self.bottom // side), -(-self.right // side)
        return Box(self.top // side, self.left // side, *ends)

    def unfolded(self, side: int, image: Box) -> Box:
        """The pixels of a box of such squares, as far as the image has them."""
        bottom, right = min(side * self.bottom, image.bottom), min(side * self.right, image.right)
        return Box(side * self.top, side * self.left, bottom, right)


class Tile(NamedTuple):
    """One piece of the work, in input pixels.

    Attributes:
        read: what the network sees, halo included.
        keep: what its result is kept for; inside of ``read``.
    """

    read: Box
    keep: Box


def around(box: Box, reach: int | None, image: Box) -> Box:
    """A box and ``reach`` pixels on every side of it, as far as the image has them.

    A reach of None is the whole image.
    """
    if reach is None:
        return image
    return Box(
        max(box.top - reach, image.top),
        max(box.left - reach, image.left),
        min(box.bottom + reach, image.bottom),
        min(box.right + reach, image.right),
    )


def plan(area: Box, image: Box, rows: int, columns: int, overlap: int) -> list[Tile]:
    """Cut an area of an image into tiles, row by row.

    The kept boxes cover every pixel of the area once. They are as even as whole pixels allow, so
    that there is no sliver at the right and the bottom.

    Args:
        area: what is cut.
        image: what the halos end with.
        rows: most rows of a kept box.
        columns: most columns of a kept box.
        overlap: width of the halo, cut off at the image's border.

    Raises:
        InvalidInput: an area or tile without pixels, or a negative overlap.
    """
    if min(area.height, area.width, rows, columns) < 1 or overlap < 0:
        raise InvalidInput(
            f"{area.height} x {area.width} pixels cannot be cut into tiles of {rows} x {columns} "
            f"with an overlap of {overlap}",
            field="tile",
        )
    return [
        Tile(read=around(keep, overlap, image), keep=keep)
        for top, bottom in pairwise(_cuts(area.top, area.bottom, rows))
        for left, right in pairwise(_cuts(area.left, area.right, columns))
        for keep in (Box(top, left, bottom, right),)
    ]


def shape_of_tiles(area: Box, image: Box, pixels: int, overlap: int) -> tuple[int, int]:
    """Most rows and columns of a tile that has few pixels and little halo.

    Of the whole area, strips as wide as the area, and squares, it is the one of which the halos
    add least; where none of them fits, strips as high as the area.

    Args:
        area: what is cut.
        image: what the halos end with.
        pixels: most that a tile may have, its halo included.
        overlap: width of the halo.

    Returns:
        Rows and columns of the kept boxes; 0 and 0 if ``pixels`` do not hold one pixel with as much
        of its halo as the image has, ``min(2 * overlap + 1, side)`` each way.
    """
    whole = around(area, overlap, image)
    if whole.height * whole.width <= pixels:
        return area.height, area.width
    side = math.isqrt(pixels) - 2 * overlap
    rows = pixels // whole.width - 2 * overlap
    of_squares = ((side + 2 * overlap) / side) ** 2 if side > 0 else math.inf
    of_strips = (rows + 2 * overlap) / rows * whole.width / area.width if rows > 0 else math.inf
    if of_strips <= of_squares and rows > 0:
        return rows, area.width
    if side > 0:
        return side, side
    columns = pixels // whole.height - 2 * overlap
    return (area.height, columns) if columns > 0 else (0, 0)


def bytes_per_pixel(features: int, scale: int) -> int:
    """What float32 inference holds at its peak for each input pixel, in bytes."""
    return (_MAPS_AT_PEAK * scale * scale + 1) * features * 4


def crop(x: Tensor, have: Box, wanted: Box, scale: int = 1) -> Tensor:
    """The part of ``(N, C, scale * H, scale * W)``, which holds a box, that holds another."""
    if have == wanted:
        return x
    rows, columns = wanted.within(have, scale)
    return x[:, :, rows, columns]


def _cuts(begin: int, end: int, longest: int) -> list[int]:
    pieces = math.ceil((end - begin) / longest)
    return [begin + i * (end - begin) // pieces for i in range(pieces + 1)]
