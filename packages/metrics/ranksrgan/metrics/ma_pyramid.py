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
    for band, one in zip(bands, filters, strict=True):
        torch.fft.irfft2(spectrum * one, s=size, out=band)
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
    vertical = _frequencies(height)[:, None].double() / (height / 2)
    horizontal = torch.arange(width // 2 + 1).double() / (width / 2)
    radius = (vertical.square() + horizontal.square()).sqrt()
    radius[0, 0] = 2 / width  # its neighbour, to have a logarithm
    octave = radius.log2_()
    angle = torch.atan2(vertical, horizontal.expand(height, -1))

    # Octaves from the highest frequency; a pair of tables is complementary in power.
    crossing = (torch.arange(259) - 257).double()
    rise = (crossing * (math.pi / 512)).cos().abs()
    rise[0], rise[-1] = rise[1], rise[-2]
    fall = (1 - rise.square()).sqrt()

    def radial(table: Tensor, octave: Tensor, shift: int) -> Tensor:
        """A table, moved down by ``shift`` octaves."""
        return _interpolate(table, (octave + shift) * 256 + 257)

    # sqrt(2^10 (5!)^2 / (6 10!)) makes the six orientations add up to 1 in power.
    turns = math.pi * (torch.arange(3075) - 2049).double() / 1024
    norm = 2**_ORDER * math.factorial(_ORDER) / math.sqrt(ORIENTATIONS * math.factorial(2 * _ORDER))
    lobe = norm * turns.cos() ** _ORDER

    def oriented(band: int, angle: Tensor) -> Tensor:
        position = angle * (1024 / math.pi) + (2049 - 1024 * band / ORIENTATIONS)
        return _interpolate(lobe, position)

    highpass = radial(rise, octave, 0)
    ring = radial(fall, octave, 0) * radial(rise, octave, 1)
    fine = torch.stack([ring * oriented(band, angle) for band in range(ORIENTATIONS)])

    rows, columns = _rows(height, _halved(height)), _halved(width) // 2 + 1
    octave, angle = octave[rows, :columns], angle[rows, :columns]
    ring = radial(fall, octave, 0) * radial(fall, octave, 1) * radial(rise, octave, 2)
    coarse = torch.stack([ring * oriented(band, angle) for band in range(ORIENTATIONS)])
    return _Filters(highpass.to(device), fine.to(device), coarse.to(device))


def _interpolate(table: Tensor, position: Tensor) -> Tensor:
    """Between the entries of a table; beyond its ends along the first or last piece."""
    index = position.long().clamp_(0, len(table) - 2).flatten()
    value = position - index.reshape(position.shape)
    value *= table.diff().index_select(0, index).reshape(position.shape)
    value += table.index_select(0, index).reshape(position.shape)
    return value
