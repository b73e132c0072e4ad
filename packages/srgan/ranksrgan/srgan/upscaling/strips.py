"""Rows of an image that come in strips of any height: checked, regrouped, resized.

All hold no more than a band of rows, and no strip while they wait for the next: strips are large.
They are tensors ``(C, n, W)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from operator import itemgetter

import torch
from torch import Tensor

from ranksrgan.contracts.enlarged import require_enlarged
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.upscaler import Upscaler
from ranksrgan.metrics import imresize
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler

# Rows that are resized at a time, unless whole periods of the ratio are longer.
_BAND = 64


def checked_strips(
    strips: Iterable[Tensor], upscaler: Upscaler, height: int, width: int
) -> Iterator[Tensor]:
    """Strips ``(1, 3, n, W)`` that an upscaler makes, as ``(3, n, W)``.

    A `GeneratorUpscaler` has looked at the values of each tile itself, and is not asked again.

    Args:
        strips: what its ``upscale_strips`` yields.
        upscaler: which has made them.
        height: of the image that is enlarged.
        width: of the same.

    Raises:
        InvalidInput: a strip is no part of an enlarged image, see `require_enlarged`, or there are
            more or fewer rows than that has.
    """
    if isinstance(upscaler, GeneratorUpscaler):
        yield from map(itemgetter(0), strips)
        return
    info, rows = upscaler.info, 0
    for strip in strips:
        shown = strip.shape[2] if isinstance(strip, Tensor) and strip.ndim == 4 else 1
        require_enlarged(strip, info, (1, 3, shown, info.scale * width))
        rows += shown
        if rows <= info.scale * height:
            yield strip[0]
        del strip
    if rows != info.scale * height:
        raise InvalidInput(
            f"the upscaler {info.name} returned {rows} rows in strips; {info.scale * height}, "
            f"{info.scale} times {height}, are wanted",
            field=info.name,
        )


def cut(strips: Iterable[Tensor], rows: int) -> Iterator[Tensor]:
    """The same rows in strips of at most ``rows``, which are views."""
    for strip in strips:
        for top in range(0, strip.shape[-2], rows):
            yield strip[..., top : top + rows, :]
        del strip


def regrouped(strips: Iterable[Tensor], rows: int) -> Iterator[Tensor]:
    """The same rows in strips of ``rows``, the last one lower if it has to be.

    Where a strip has as many they are views of it.
    """
    kept: list[Tensor] = []  # of rows that do not make a strip yet
    missing = rows
    for strip in strips:
        height, top = strip.shape[-2], 0
        if kept and height >= missing:
            yield torch.cat((*kept, strip[..., :missing, :]), -2)
            kept, top, missing = [], missing, rows
        full = height - (height - top) % missing
        for begin in range(top, full, rows):
            yield strip[..., begin : begin + rows, :]
        if full < height:
            # A copy, so that a short rest does not keep all of it alive.
            kept.append(strip[..., full:, :].clone())
            missing -= height - full
        del strip
    if kept:
        yield torch.cat(kept, -2)


def resized(strips: Iterable[Tensor], height: int, ratio: Fraction) -> Iterator[Tensor]:
    """What `imresize` makes of the whole image, band by band.

    The pattern of input rows under an output row repeats after ``ratio.denominator`` input rows.
    A band that begins and ends with such a period, and has real rows around it as far as the kernel
    reaches, is resized as the whole is, to the rounding of floating point.

    Args:
        strips: float32 or float64; ``height`` rows in all.
        height: of the whole image.
        ratio: output side over input side.

    Yields:
        Strips of ``ceil(ratio * W)`` columns; ``ceil(ratio * height)`` rows in all.
    """
    period = ratio.denominator
    band = period * math.ceil(_BAND / period)
    reach = math.ceil(2 / min(ratio, Fraction(1))) + 1
    halo = period * math.ceil(reach / period)
    held: Tensor | None = None
    first = done = received = 0  # row of the image that ``held`` begins with; resized; there
    for strip in strips:
        held = strip if held is None else torch.cat([held, strip], -2)
        received += strip.shape[-2]
        columns = math.ceil(ratio * strip.shape[-1])
        del strip
        while done < height and received >= min(done + band + halo, height):
            top, end = max(done - halo, 0), min(done + band, height)
            rows = held[..., top - first : min(end + halo, height) - first, :]
            large = imresize(rows.contiguous(), float(ratio))
            yield large[
                ...,
                _place(done, ratio) - _place(top, ratio) : _place(end, ratio) - _place(top, ratio),
                :columns,
            ]
            done = end
            held, first = held[..., max(done - halo, 0) - first :, :], max(done - halo, 0)


def _place(row: int, ratio: Fraction) -> int:
    """The output row that an input row, where a period or the image ends, becomes."""
    return math.ceil(ratio * row)
