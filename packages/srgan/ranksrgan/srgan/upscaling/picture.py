"""Enlarging whole pictures: colour, grey, 16 bits, transparency and metadata.

*Grey stays grey.* A picture whose channels are equal everywhere, whatever kind of file it came in,
goes through the network in three channels, and the luma of the result is what comes out. A network
that tints greys cannot show it.

*Transparency.* Alpha is enlarged bicubically. The colour of wholly transparent pixels is arbitrary,
often black, and a network would drag it into the edge of what is visible as a dark fringe; so it is
first replaced by a continuation of the visible colour (see `transparency`). Premultiplying instead
would show the network an outline on black, and dividing by a small alpha afterwards would amplify
what it made of that.

*Size.* The result is made from the top down and never held as a whole here: memory is that of the
input and of some strips, if the upscaler is a `StripUpscaler` too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ranksrgan.contracts.enlarged import enlarge
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.image_files.encoders import DEEP, TRANSPARENT, Layout, check_format
from ranksrgan.contracts.images import Picture, Pixels, as_float, from_tensor, to_tensor
from ranksrgan.contracts.upscaler import Upscaler
from ranksrgan.srgan.upscaling.strip_upscaler import ReadRows, StripUpscaler
from ranksrgan.srgan.upscaling.strips import checked_strips, regrouped, resized
from ranksrgan.srgan.upscaling.transparency import Continuation

# ITU-R BT.601: what converting the enlarged picture to grey would give.
_LUMA = (0.299, 0.587, 0.114)

# Pixels that are turned into integers at a time: the float64 on the way costs 24 bytes each.
_PIXELS = 2**17

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
        self._grey = _is_grey(picture)
        self._continuation: Continuation | None = None  # of the colour, if some of it is hidden
        if picture.alpha is not None and not bool(picture.alpha.all()):
            self._continuation = Continuation(picture)
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
            InvalidInput: the upscaler returned no enlarged image, see `require_enlarged`.
        """
        height, width = self._picture.height, self._picture.width
        read: ReadRows = self._rows
        if isinstance(self._upscaler, StripUpscaler):
            strips = self._upscaler.upscale_strips(read, height, width)
            yield from checked_strips(strips, self._upscaler, height, width)
        else:
            yield enlarge(self._upscaler, read(0, height))[0]

    def pictures(self, strips: Iterable[Tensor]) -> Iterator[Picture]:
        """Strips of the result, of the kind that `layout` says.

        Args:
            strips: what `strips` yields.
        """
        picture, scale = self._picture, self._upscaler.info.scale
        bands = regrouped(strips, rows_at_a_time(scale * picture.width))
        if self._grey:
            bands = map(partial(luma, channels=self.layout.channels), bands)
        rows = rows_at_a_time(self.layout.width)
        if self._scale != scale:
            large = resized(bands, scale * picture.height, self._scale / scale)
            bands = regrouped(large, rows)
        # By map, which keeps none: a band may be a view of a strip, and that is large.
        colours = map(self._pixels, bands)
        if picture.alpha is None:
            yield from map(Picture, colours)
            return
        alphas = map(self._pixels, regrouped(self._alpha(picture.alpha), rows))
        for colour, alpha in zip(colours, alphas, strict=True):
            yield Picture(colour, alpha[..., 0])

    def _rows(self, top: int, bottom: int) -> Tensor:
        if self._continuation is not None:
            return self._continuation.rows(top, bottom)
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


def _is_grey(picture: Picture) -> bool:
    """Whether the channels are equal wherever one sees them; anywhere, if all is transparent."""
    alpha = picture.alpha if picture.alpha is not None and picture.alpha.any() else None
    for top in range(0, picture.height, _ROWS):
        band = picture.colour[top : top + _ROWS]
        grey = (band == band[..., :1]).all(axis=-1)
        if alpha is not None:
            grey |= alpha[top : top + _ROWS] == 0
        if not grey.all():
            return False
    return True


def rows_at_a_time(width: int) -> int:
    """How many rows of a result are made grey, resized or turned into integers at a time."""
    return max(_PIXELS // width, 1)


def luma(strip: Tensor, channels: int) -> Tensor:
    """The luma of ``(3, H, W)``, ``channels`` times."""
    red, green, blue = strip.unbind(0)
    weighted = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return weighted[None].expand(channels, -1, -1)
