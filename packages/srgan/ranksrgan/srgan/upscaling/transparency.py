"""What lies under the transparent part of a picture: a continuation of the visible colour.

Each level of a pyramid halves the picture to the means of what is visible; on the way back, what
has no colour of its own takes that of the level above. Visible pixels are not touched.

The picture itself stays in integers. What is kept of the pyramid is its first level, filled: a
quarter of the picture, from which the rows of the picture follow when they are wanted.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ranksrgan.contracts.images import Picture, as_float, to_tensor

# Rows that are floating point at a time on the way to the first level; even.
_ROWS = 256


class Continuation:
    """A picture whose hidden pixels have the mean colour of the visible ones around them.

    Args:
        picture: with alpha; where nothing is visible, nothing is known and nothing changes.
    """

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._halved: Tensor | None = None
        if picture.alpha is not None and picture.alpha.any() and not picture.alpha.all():
            self._halved = _fill(*_first_level(picture))

    def rows(self, top: int, bottom: int) -> Tensor:
        """``(1, 3, bottom - top, W)`` float32 in [0, 1]."""
        colour = as_float(to_tensor(self._picture.rows(top, bottom)))
        if self._halved is None:
            return colour
        around = _doubled(self._halved, top, bottom)[..., : self._picture.width]
        return torch.where(_visible(self._picture, top, bottom), colour, around)


def _visible(picture: Picture, top: int, bottom: int) -> Tensor:
    opacity = picture.rows(top, bottom).alpha
    if opacity is None:
        return torch.ones((bottom - top, picture.width), dtype=torch.bool)
    return torch.from_numpy(opacity > 0)


def _first_level(picture: Picture) -> tuple[Tensor, Tensor]:
    """Half the picture: means of the visible colour, and the share of what is visible."""
    channels = picture.colour.shape[2]
    height, width = (picture.height + 1) // 2, (picture.width + 1) // 2
    total, weight = torch.empty((1, channels, height, width)), torch.empty((1, 1, height, width))
    for top in range(0, picture.height, _ROWS):
        bottom = min(top + _ROWS, picture.height)
        known = _visible(picture, top, bottom)[None, None].float()
        colour = as_float(to_tensor(picture.rows(top, bottom)))[:, :channels]
        to = slice(top // 2, (bottom + 1) // 2)
        total[:, :, to], weight[:, :, to] = _half(colour * known), _half(known)
    return total, weight


def _fill(total: Tensor, weight: Tensor) -> Tensor:
    """The colour of a level, in the memory of ``total``."""
    above = None if bool((weight > 0).all()) else _fill(_half(total), _half(weight))
    total.div_(weight.clamp(min=torch.finfo(weight.dtype).tiny))
    if above is None:
        return total
    height, width = weight.shape[2:]
    for top in range(0, height, _ROWS):
        bottom = min(top + _ROWS, height)
        own = total[:, :, top:bottom]
        around = _doubled(above, top, bottom)[..., :width]
        own.copy_(torch.where(weight[:, :, top:bottom] > 0, own, around))
    return total


def _half(plane: Tensor) -> Tensor:
    """Means of squares of 2 x 2, which end with the plane."""
    return F.avg_pool2d(plane, 2, ceil_mode=True)


def _doubled(plane: Tensor, top: int, bottom: int) -> Tensor:
    """Rows ``top`` to ``bottom`` of a plane of twice the size, in which every pixel is four."""
    first = top // 2
    rows = F.interpolate(plane[:, :, first : (bottom + 1) // 2], scale_factor=2)
    return rows[:, :, top - 2 * first : bottom - 2 * first]
