"""Rows of an image that come in strips of any height: regrouped, and resized without the whole.

Both hold no more than a band of rows. Strips are tensors ``(C, n, W)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import torch
from torch import Tensor

from ranksrgan.metrics import imresize

# Rows that are resized at a time, unless whole periods of the ratio are longer.
_BAND = 64


def regrouped(strips: Iterable[Tensor], rows: int) -> Iterator[Tensor]:
    """The same rows in strips of ``rows``, the last one lower if it has to be."""
    kept: list[Tensor] = []
    count = 0
    for strip in strips:
        kept.append(strip)
        count += strip.shape[-2]
        if count < rows:
            continue
        joined = torch.cat(kept, -2)
        full = count - count % rows
        for top in range(0, full, rows):
            yield joined[..., top : top + rows, :]
        # A copy, so that a short rest does not keep all of it alive.
        kept, count = [joined[..., full:, :].clone()], count - full
    if count:
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
        while done < height and received >= min(done + band + halo, height):
            top, end = max(done - halo, 0), min(done + band, height)
            rows = held[..., top - first : min(end + halo, height) - first, :]
            large = imresize(rows.contiguous(), float(ratio))
            yield large[
                ...,
                _place(done, ratio) - _place(top, ratio) : _place(end, ratio) - _place(top, ratio),
                : math.ceil(ratio * strip.shape[-1]),
            ]
            done = end
            held, first = held[..., max(done - halo, 0) - first :, :], max(done - halo, 0)


def _place(row: int, ratio: Fraction) -> int:
    """The output row that an input row, where a period or the image ends, becomes."""
    return math.ceil(ratio * row)
