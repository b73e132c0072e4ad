"""Exact tiling: a large image goes through a network in pieces, and nobody can tell.

An output pixel of a convolutional network depends on the input up to its receptive field away. A
tile therefore carries a halo of that many real pixels on every side, which is cropped from its
result; at the border of the image, where there are none, the tile ends with the image, so that the
network pads it with the same zeros as it pads the whole. What is left equals the whole-image result
but for the order of floating-point sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from ranksrgan.contracts import cancellation
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


class Tile(NamedTuple):
    """One piece of the work, in input pixels.

    Attributes:
        read: what the network sees, halo included.
        keep: what its result is kept for; inside of ``read``.
    """

    read: Box
    keep: Box


def plan(height: int, width: int, tile: int, overlap: int) -> list[Tile]:
    """Cut an image into tiles, row by row.

    The kept boxes cover every pixel once. They are as even as whole pixels allow, none larger than
    ``tile``, so that there is no sliver at the right and the bottom.

    Args:
        height: of the image.
        width: of the image.
        tile: longest side of a kept box.
        overlap: width of the halo, cut off at the image's border.

    Raises:
        InvalidInput: an image or tile without pixels, or a negative overlap.
    """
    if min(height, width, tile) < 1 or overlap < 0:
        raise InvalidInput(
            f"an image of {height} x {width} cannot be cut into tiles of {tile} with an overlap of "
            f"{overlap}",
            field="tile",
        )
    return [
        Tile(
            read=Box(
                max(top - overlap, 0),
                max(left - overlap, 0),
                min(bottom + overlap, height),
                min(right + overlap, width),
            ),
            keep=Box(top, left, bottom, right),
        )
        for top, bottom in pairwise(_cuts(height, tile))
        for left, right in pairwise(_cuts(width, tile))
    ]


def bytes_per_pixel(features: int, scale: int) -> int:
    """What float32 inference holds at its peak for each input pixel, in bytes."""
    return (_MAPS_AT_PEAK * scale * scale + 1) * features * 4


def tile_for_memory(memory: int, pixel_bytes: int, overlap: int) -> int:
    """The largest tile whose activations, halo included, stay below ``memory`` bytes.

    Raises:
        InvalidInput: the halo alone takes more; names the least that works.
    """
    side = math.isqrt(memory // pixel_bytes) - 2 * overlap
    if side < 1:
        least = math.ceil((2 * overlap + 1) ** 2 * pixel_bytes / 2**20)
        raise InvalidInput(
            f"{memory / 2**20:g} MiB do not hold one tile of this network; it needs {least} MiB",
            field="memory",
        )
    return side


def upscale_tiled(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    scale: int,
    overlap: int,
    tile: int,
    trunk: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Enlarge images tile by tile, one image after the other.

    Args:
        network: ``(1, C, h, w)`` to ``(1, 3, scale * h, scale * w)``, of any device and type; C is
            3, or what ``trunk`` makes.
        images: ``(N, 3, H, W)``.
        scale: of the network.
        overlap: at least the network's receptive field in input pixels, for an exact result.
        tile: longest side of a tile without its halo; an image that is no larger stays whole.
        trunk: ``(1, 3, H, W)`` to ``(1, C, H, W)``, the part that must see each image as a whole;
            what it makes is cut into tiles then.

    Returns:
        ``(N, 3, scale * H, scale * W)`` of the type and on the device of ``images``. The result of
        an image does not depend on the others of the batch.

    Raises:
        InvalidInput: see `plan`.
        RequestCancelled: between two tiles, if nobody waits for the result any more.
    """
    count, channels, height, width = images.shape
    tiles = plan(height, width, tile, overlap)
    enlarged = images.new_empty((count, channels, scale * height, scale * width))
    for image, result in zip(images, enlarged, strict=True):
        cancellation.check()
        whole = image[None] if trunk is None else trunk(image[None])
        for read, keep in tiles:
            cancellation.check()
            piece = network(whole[:, :, read.top : read.bottom, read.left : read.right])
            top, left = scale * (keep.top - read.top), scale * (keep.left - read.left)
            bottom = top + scale * (keep.bottom - keep.top)
            right = left + scale * (keep.right - keep.left)
            result[
                :,
                scale * keep.top : scale * keep.bottom,
                scale * keep.left : scale * keep.right,
            ] = piece[0, :, top:bottom, left:right]
    return enlarged


def _cuts(length: int, tile: int) -> list[int]:
    pieces = math.ceil(length / tile)
    return [i * length // pieces for i in range(pieces + 1)]
