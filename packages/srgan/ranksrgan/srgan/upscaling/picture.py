"""Enlarging whole pictures: colour, grey, 16 bits, transparency and metadata.

*Grey stays grey.* A picture whose channels are equal everywhere, whatever kind of file it came in,
goes through the network in three channels, and the luma of the result is what comes out. A network
that tints greys cannot show it.

*Transparency.* Alpha is enlarged bicubically. The colour of wholly transparent pixels is arbitrary,
often black, and a network would drag it into the edge of what is visible as a dark fringe; so it is
first replaced by a continuation of the visible colour. Premultiplying instead would show the
network an outline on black, and dividing by a small alpha afterwards would amplify what it made of
that.

*Size.* The result is made from the top down and never held as a whole here: memory is that of the
input and of some strips, if the upscaler is a `StripUpscaler` too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ranksrgan.contracts.encoders import DEEP, TRANSPARENT, Layout, check_format
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.images import Picture, Pixels, as_float, from_tensor, to_tensor
from ranksrgan.contracts.upscaler import Upscaler
from ranksrgan.srgan.upscaling.strips import regrouped, resized
from ranksrgan.srgan.upscaling.upscaler import ReadRows, StripUpscaler

# ITU-R BT.601: what converting the enlarged picture to grey would give.
_LUMA = (0.299, 0.587, 0.114)

#: Pixels that are turned into integers at a time: the float64 on the way costs 24 bytes each.
PIXELS = 2**17

# Rows of an input that are looked at, or made floating point, at a time.
_ROWS = 256


def upscale_picture(
    picture: Picture,
    upscaler: Upscaler,
    *,
    depth: int | None = None,
    out_scale: Fraction | None = None,
) -> Picture:
    """Enlarge a picture with everything it has: all strips of an `Enlargement`, joined.

    Args, Raises:
        As `Enlargement`, and what `Upscaler.upscale` raises.
    """
    enlargement = Enlargement(picture, upscaler, depth=depth, out_scale=out_scale)
    strips = list(enlargement.pictures(enlargement.strips()))
    alpha = [strip.alpha for strip in strips if strip.alpha is not None]
    return Picture(
        cast(Pixels, np.concatenate([strip.colour for strip in strips])),
        cast(Pixels, np.concatenate(alpha)) if alpha else None,
        picture.metadata,
    )


def enlargement_for(
    picture: Picture, upscaler: Upscaler, suffix: str, out_scale: Fraction | None = None
) -> Enlargement:
    """An enlargement whose result is stored in one format.

    An alpha channel that hides nothing and bits beyond the eighth are left out where the format has
    no room for them.

    Args:
        picture: of any kind.
        upscaler: for the colour.
        suffix: of a file of the format.
        out_scale: see `Enlargement`.

    Raises:
        InvalidInput: the format cannot hold the result.
    """
    suffix = suffix.lower()
    if picture.alpha is not None and suffix not in TRANSPARENT and _is_opaque(picture):
        picture = replace(picture, alpha=None)
    depth = None if suffix in DEEP else 255
    enlargement = Enlargement(picture, upscaler, depth=depth, out_scale=out_scale)
    check_format(enlargement.layout, suffix)
    return enlargement


class Enlargement:
    """One picture on its way through an upscaler, in two steps that may run side by side.

    `strips` is the network's part, `pictures` makes of what it yields the picture that is stored.

    Args:
        picture: of any kind that `Picture` holds.
        upscaler: for the colour.
        depth: 255 or 65535, the largest value of a channel in the result; None keeps the picture's.
        out_scale: side of the result over that of ``picture``, rounded up; what the upscaler makes
            is resized (bicubic, antialiased). None is the upscaler's own scale.

    Raises:
        InvalidInput: another depth, or a scale that is not above 0.
    """

    def __init__(
        self,
        picture: Picture,
        upscaler: Upscaler,
        *,
        depth: int | None = None,
        out_scale: Fraction | None = None,
    ) -> None:
        depth = picture.depth if depth is None else depth
        if depth not in (255, 65535):
            raise InvalidInput(f"a depth of {depth} is neither 255 nor 65535", field="depth")
        self._scale = Fraction(upscaler.info.scale) if out_scale is None else out_scale
        if self._scale <= 0:
            raise InvalidInput(f"a scale of {self._scale} is not above 0", field="out_scale")
        self._picture, self._upscaler = picture, upscaler
        self._continued: Tensor | None = None  # the colour, if some of it is hidden
        if picture.alpha is not None and not bool(picture.alpha.all()):
            visible = torch.from_numpy(picture.alpha > 0)
            self._continued = _continue_under(as_float(to_tensor(picture)), visible)
        self._grey = _is_grey(picture.colour if self._continued is None else self._continued[0])
        self.layout = Layout(
            height=math.ceil(self._scale * picture.height),
            width=math.ceil(self._scale * picture.width),
            channels=picture.colour.shape[2],
            alpha=picture.alpha is not None,
            depth=depth,
            metadata=picture.metadata,
        )

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        return self._picture.width, self._picture.height

    def strips(self) -> Iterator[Tensor]:
        """What the upscaler makes of the colour: ``(3, n, scale * W)``, from the top down.

        Raises:
            InvalidCheckpoint, RequestCancelled, ServiceUnavailable...: see `Upscaler.upscale`.
        """
        height, width = self._picture.height, self._picture.width
        read: ReadRows = self._rows
        if isinstance(self._upscaler, StripUpscaler):
            for strip in self._upscaler.upscale_strips(read, height, width):
                yield strip[0]
        else:
            yield self._upscaler.upscale(read(0, height))[0]

    def pictures(self, strips: Iterable[Tensor]) -> Iterator[Picture]:
        """Strips of the result, of the kind that `layout` says.

        Args:
            strips: what `strips` yields.
        """
        picture, layout = self._picture, self.layout
        if self._grey:
            strips = (luma(strip, layout.channels) for strip in strips)
        ratio = self._scale / self._upscaler.info.scale
        if ratio != 1:
            strips = resized(strips, self._upscaler.info.scale * picture.height, ratio)
        rows = max(PIXELS // layout.width, 1)
        bands = regrouped(strips, rows)
        if picture.alpha is None:
            for band in bands:
                yield Picture(self._pixels(band))
            return
        alphas = regrouped(self._alpha(picture.alpha), rows)
        for band, alpha in zip(bands, alphas, strict=True):
            yield Picture(self._pixels(band), self._pixels(alpha)[..., 0])

    def _rows(self, top: int, bottom: int) -> Tensor:
        if self._continued is not None:
            return self._continued[:, :, top:bottom]
        return as_float(to_tensor(self._picture.rows(top, bottom)))

    def _alpha(self, alpha: Pixels) -> Iterator[Tensor]:
        planes = (
            torch.from_numpy(alpha[None, top : top + _ROWS] / np.float32(self._picture.depth))
            for top in range(0, len(alpha), _ROWS)
        )
        return resized(planes, len(alpha), self._scale)

    def _pixels(self, band: Tensor) -> Pixels:
        return from_tensor(band, depth=self.layout.depth).colour


def _is_opaque(picture: Picture) -> bool:
    return picture.alpha is not None and bool((picture.alpha == picture.depth).all())


def _is_grey(colour: Pixels | Tensor) -> bool:
    """Whether ``(H, W, C)`` integers, or ``(C, H, W)`` floating point, are the same in each C."""
    if isinstance(colour, Tensor):
        return bool((colour == colour[:1]).all())
    bands = (colour[top : top + _ROWS] for top in range(0, len(colour), _ROWS))
    return all(bool((band == band[..., :1]).all()) for band in bands)


def luma(strip: Tensor, channels: int) -> Tensor:
    """The luma of ``(3, H, W)``, ``channels`` times."""
    red, green, blue = strip.unbind(0)
    weighted = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return weighted[None].expand(channels, -1, -1)


def _continue_under(colour: Tensor, visible: Tensor) -> Tensor:
    """Give the pixels that are not visible the mean colour of the visible ones around them.

    Each level of a pyramid halves the image to the means of what is visible; on the way back, what
    has no colour of its own takes that of the level above. Visible pixels are not touched.

    Args:
        colour: ``(1, 3, H, W)``.
        visible: ``(H, W)``; where nothing is visible, nothing is known and nothing changes.
    """
    if bool(visible.all()) or not bool(visible.any()):
        return colour
    known = visible[None, None].to(colour.dtype)
    return torch.where(visible, colour, _fill(colour * known, known))


def _fill(total: Tensor, weight: Tensor) -> Tensor:
    own = total / weight.clamp(min=torch.finfo(weight.dtype).tiny)
    if bool((weight > 0).all()):
        return own
    height, width = weight.shape[2:]
    halved = [F.avg_pool2d(plane, 2, ceil_mode=True) for plane in (total, weight)]
    around = F.interpolate(_fill(*halved), scale_factor=2)[..., :height, :width]
    return torch.where(weight > 0, own, around)
