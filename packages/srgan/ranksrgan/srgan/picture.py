"""Enlarging whole pictures: colour, grey, 16 bits and transparency.

*Grey stays grey.* A picture whose channels are equal everywhere, whatever kind of file it came in,
goes through the network in three channels, and the luma of the result is what comes out. A network
that tints greys cannot show it.

*Transparency.* Alpha is enlarged bicubically. The colour of wholly transparent pixels is arbitrary,
often black, and a network would drag it into the edge of what is visible as a dark fringe; so it is
first replaced by a continuation of the visible colour. Premultiplying instead would show the
network an outline on black, and dividing by a small alpha afterwards would amplify what it made of
that.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.images import Picture, Pixels, as_float, from_tensor, to_tensor
from ranksrgan.contracts.upscaler import Upscaler
from ranksrgan.metrics import imresize

# ITU-R BT.601: what converting the enlarged picture to grey would give.
_LUMA = (0.299, 0.587, 0.114)

# Rows that are turned into integers at a time: the float64 on the way costs 24 bytes a pixel.
_ROWS = 256


def upscale_picture(picture: Picture, upscaler: Upscaler, *, depth: int | None = None) -> Picture:
    """Enlarge a picture with everything it has.

    Args:
        picture: of any kind that `Picture` holds.
        upscaler: for the colour.
        depth: 255 or 65535, the largest value of a channel in the result; None keeps the picture's.

    Returns:
        A picture of ``scale`` times the size: grey if ``picture`` is, with an alpha channel if
        ``picture`` has one, and opaque wherever the whole of it is opaque.

    Raises:
        InvalidInput: another depth.
        InvalidCheckpoint, RequestCancelled, ServiceUnavailable...: see `Upscaler.upscale`.
    """
    depth = picture.depth if depth is None else depth
    if depth not in (255, 65535):
        raise InvalidInput(f"a depth of {depth} is neither 255 nor 65535", field="depth")
    colour = as_float(to_tensor(picture))
    if picture.alpha is not None:
        colour = _continue_under(colour, torch.from_numpy(picture.alpha > 0))
    enlarged = upscaler.upscale(colour)[0]
    if bool((colour == colour[:, :1]).all()):
        enlarged = _grey(enlarged, channels=picture.colour.shape[2])
    alpha = None
    if picture.alpha is not None:
        plane = torch.from_numpy(picture.alpha.astype(np.float32) / picture.depth)
        alpha = _to_pixels(imresize(plane[None], upscaler.info.scale), depth)[..., 0]
    return Picture(_to_pixels(enlarged, depth), alpha)


def _grey(enlarged: Tensor, channels: int) -> Tensor:
    red, green, blue = enlarged.unbind(0)
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return luma[None].expand(channels, -1, -1)


def _to_pixels(planes: Tensor, depth: int) -> Pixels:
    """``(C, H, W)`` to ``(H, W, C)``, band by band."""
    bands = [
        from_tensor(planes[:, top : top + _ROWS], depth=depth).colour
        for top in range(0, planes.shape[1], _ROWS)
    ]
    return cast(Pixels, np.concatenate(bands))


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
