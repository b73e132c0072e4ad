"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ranksrgan.metrics.full_reference import (
    CHANNELS,
    Channels,
    LumaScorer,
    channel_pairs,
    plane_mean,
)


def psnr(images: Tensor, references: Tensor, border: int = 0, luma: Channels = "y") -> Tensor:
    """``10 log10(255² / MSE)`` in dB; higher is better.

    With ``luma="y"`` and a border of the scale factor this is the PSNR-Y of super-resolution
    tables: 8-bit images, unrounded luma (bicubic x4 on Set5: 28.43; rounded it would be 28.42).
    With ``luma="gray"`` the luma is rounded, as MATLAB's ``rgb2gray`` does. With ``luma="rgb"`` the
    MSE is over the values of all three channels together.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.
        references: of the same shape, floating point or uint8.
        border: pixels to leave out on every side.
        luma: ``"y"``, ``"gray"`` or ``"rgb"``.

    Returns:
        ``(N,)`` float64 on the device of ``images``; infinite where the two do not differ.

    Raises:
        InvalidInput: wrong shape, type, range or option, or the two differ in size.
        ImageTooSmall: nothing is left inside the border.
    """
    pairs = channel_pairs(images, references, border, luma, rounded=luma != "y")
    errors = torch.stack([plane_mean((x - y).square()).mean() for x, y in pairs])
    return 10 * torch.log10(255**2 / errors)


class Psnr(LumaScorer):
    """`psnr` as a `Scorer`."""

    metric = "psnr"
    higher_is_better = True
    min_side = 1
    lowest, highest = 0.0, math.inf
    channels = CHANNELS
    measure = staticmethod(psnr)
