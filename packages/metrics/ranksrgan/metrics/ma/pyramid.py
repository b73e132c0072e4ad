"""Steerable pyramid of two scales and six orientations, built in the frequency domain.

E. P. Simoncelli, W. T. Freeman, "The steerable pyramid: a flexible architecture for multi-scale
derivative computation", ICIP 1995; the filters are read from the same tables, by linear
interpolation, as in the authors' toolbox (``buildSFpyr``), so that the bands agree to rounding.

Spectra are those of real images, so half a plane holds everything: rows are the vertical
frequencies 0, 1, ... -1, columns the horizontal ones from 0 up. At the highest frequency of an
even side the band filters are 0, which is why the half that is not computed is its mirror image.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

ORIENTATIONS = 6
_ORDER = ORIENTATIONS - 1

# The radial tables by octave below the highest frequency, 256 entries an octave: what passes above
# the crossing and what passes below, complementary in power.
_CROSSING = (torch.arange(259) - 257).double() * (math.pi / 512)
_RISE = _CROSSING.cos().abs()
_RISE[0], _RISE[-1] = _RISE[1], _RISE[-2]
_FALL = (1 - _RISE.square()).sqrt()

# The angular table, 1024 entries half a turn; the norm makes the six orientations add up to 1.
_TURNS = (torch.arange(3075) - 2049).double() * (math.pi / 1024)
_NORM = math.sqrt(2 ** (2 * _ORDER) / (ORIENTATIONS * math.comb(2 * _ORDER, _ORDER)))
_LOBE = _NORM * _TURNS.cos() ** _ORDER

# Rows of a filter that are computed together, for the cache.
_TOGETHER = 64

# Below this, on the 0..255 scale, a whole band is rounding of the transforms and nothing else.
_NOISE = 1e-9


class SteerablePyramid(NamedTuple):
    """Bands of one plane, float64.

    Attributes:
        highpass: ``(H, W)``, what is too fine for the first scale.
        fine: ``(6, H, W)``, the first scale by orientation.
        coarse: ``(6, ceil(H / 2), ceil(W / 2))``, the second.
    """

    highpass: Tensor
    fine: Tensor
    coarse: Tensor


class _Filters(NamedTuple):
    highpass: Tensor  # (H, W // 2 + 1)
    fine: Tensor  # (6, H, W // 2 + 1)
    coarse: Tensor  # (6, h, w // 2 + 1)


def steerable_pyramid(plane: Tensor) -> SteerablePyramid:
    """Decompose a plane.

    A band without a value above 1e-9, as all bands of a flat plane are, is exactly 0.

    Args:
        plane: ``(H, W)`` float64 on the 0..255 scale, both sides 2 or more.
    """
    height, width = plane.shape
    filters = _filters(height, width, plane.device)
    spectrum = torch.fft.rfft2(plane)
    highpass = _bands(spectrum, filters.highpass[None], (height, width))[0]
    spectrum = spectrum * -1j  # (-i)^5, the phase of all oriented bands
    fine = _bands(spectrum, filters.fine, (height, width))
    small = _halved(height), _halved(width)
    spectrum = spectrum[_rows(height, small[0]).to(plane.device), : small[1] // 2 + 1]
    return SteerablePyramid(highpass, fine, _bands(spectrum, filters.coarse, small))


def _bands(spectrum: Tensor, filters: Tensor, size: tuple[int, int]) -> Tensor:
    bands = filters.new_empty((len(filters), *size))
    filtered = torch.empty_like(spectrum)
    for band, one in zip(bands, filters, strict=True):
        torch.mul(torch.view_as_real(spectrum), one[..., None], out=torch.view_as_real(filtered))
        torch.fft.irfft2(filtered, s=size, out=band)
        low, high = band.aminmax()
        if low > -_NOISE and high < _NOISE:
            band.zero_()
    return bands


def _halved(side: int) -> int:
    return math.ceil((side - 0.5) / 2)


def _rows(height: int, small: int) -> Tensor:
    """Where the vertical frequencies of the smaller spectrum are in the larger one."""
    return _frequencies(small) % height


def _frequencies(side: int) -> Tensor:
    rising = torch.arange(side)
    return torch.where(rising < (side + 1) // 2, rising, rising - side)


@lru_cache(maxsize=1)  # images of a data set are mostly of one size
def _filters(height: int, width: int, device: torch.device) -> _Filters:
    # Frequencies in units of the highest; those of the second scale are the lower half of them.
    vertical = _frequencies(height).double()[:, None] / (height / 2)
    horizontal = torch.arange(width // 2 + 1).double() / (width / 2)
    some_rows = torch.split(vertical, _TOGETHER)
    fine = [_oriented(rows, horizontal, width, [(_FALL, 0), (_RISE, 1)]) for rows in some_rows]
    highpass = [_radial(rows, horizontal, width, [(_RISE, 0)]) for rows in some_rows]
    vertical = vertical[_rows(height, _halved(height))]
    horizontal = horizontal[: _halved(width) // 2 + 1]
    rings = [(_FALL, 0), (_FALL, 1), (_RISE, 2)]
    coarse = [
        _oriented(rows, horizontal, width, rings) for rows in torch.split(vertical, _TOGETHER)
    ]
    return _Filters(
        torch.cat(highpass).to(device),
        torch.cat(fine, dim=1).to(device),
        torch.cat(coarse, dim=1).to(device),
    )


def _radial(
    vertical: Tensor, horizontal: Tensor, width: int, rings: list[tuple[Tensor, int]]
) -> Tensor:
    """The product of radial tables, each moved down by some octaves."""
    radius = (vertical.square() + horizontal.square()).sqrt()
    radius[radius == 0] = 2 / width  # as for its neighbour, to have a logarithm
    position = radius.log2_() * 256 + 257
    product = torch.ones_like(position)
    for table, octaves in rings:
        product *= _interpolate(table, position + 256 * octaves)
    return product


def _oriented(
    vertical: Tensor, horizontal: Tensor, width: int, rings: list[tuple[Tensor, int]]
) -> Tensor:
    """``(6, rows, columns)``: a ring of frequencies in six directions."""
    ring = _radial(vertical, horizontal, width, rings)
    position = torch.atan2(vertical, horizontal.expand_as(ring)) * (1024 / math.pi) + 2049
    turn = 1024 / ORIENTATIONS
    return torch.stack(
        [ring * _interpolate(_LOBE, position - turn * band) for band in range(ORIENTATIONS)]
    )


def _interpolate(table: Tensor, position: Tensor) -> Tensor:
    """Between the entries of a table; beyond its ends along the first or last piece."""
    index = position.long().clamp_(0, len(table) - 2).flatten()
    value = position - index.reshape(position.shape)
    value *= table.diff().index_select(0, index).reshape(position.shape)
    value += table.index_select(0, index).reshape(position.shape)
    return value
