"""Structural similarity (SSIM).

Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from error
visibility to structural similarity", IEEE Transactions on Image Processing 13(4), 2004.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall
from ranksrgan.metrics.filters import gaussian, local_means
from ranksrgan.metrics.full_reference import (
    CHANNELS,
    Channels,
    LumaScorer,
    channel_pairs,
    plane_mean,
)

WINDOW = 11
_WEIGHTS = gaussian(WINDOW, 1.5)
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


def ssim(images: Tensor, references: Tensor, border: int = 0, luma: Channels = "y") -> Tensor:
    """Mean SSIM; higher is better, 1 for equal images.

    Wang's own settings: Gaussian window of 11 x 11 with sigma 1.5, K = (0.01, 0.03), population
    moments, and only windows that lie inside the image, which is not shrunk first. ``luma="gray"``
    is MATLAB's, rounded, which the published values of the author's own program are made with;
    ``luma="y"`` is not rounded, as in the tables of super-resolution. ``luma="rgb"`` is the mean of
    the SSIM of the three channels, each on its own.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.
        references: of the same shape, floating point or uint8.
        border: pixels to leave out on every side.
        luma: ``"y"``, ``"gray"`` or ``"rgb"``.

    Returns:
        ``(N,)`` float64 on the device of ``images``, -1 to 1.

    Raises:
        InvalidInput: wrong shape, type, range or option, or the two differ in size.
        ImageTooSmall: less than one window is left inside the border.
    """
    pairs = channel_pairs(images, references, border, luma, rounded=luma != "y")
    return torch.stack(
        [
            torch.stack([_mean_ssim(x, y) for x, y in zip(image, reference, strict=True)]).mean()
            for image, reference in pairs
        ]
    )


class Ssim(LumaScorer):
    """`ssim` as a `Scorer`."""

    metric = "ssim"
    higher_is_better = True
    min_side = WINDOW
    lowest, highest = -1.0, 1.0
    channels = CHANNELS
    measure = staticmethod(ssim)


def ssim_maps(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast times structure, of every window of two planes (section III-B).

    Args:
        x: ``(H, W)`` float64 in 0..255.
        y: the same.

    Returns:
        Two of ``(H - 10, W - 10)``, at most 1.

    Raises:
        ImageTooSmall: a side is shorter than the window.
    """
    if min(x.shape) < WINDOW:
        raise ImageTooSmall(
            f"{x.shape[0]} x {x.shape[1]} pixels hold no window of {WINDOW} x {WINDOW}",
            field="images",
        )
    products = torch.stack([x, y, x * x, y * y, x * y])
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = local_means(products, _WEIGHTS)
    variances = (mean_xx - mean_x**2) + (mean_yy - mean_y**2)
    covariance = mean_xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variances + _C2)
    return luminance, structure


def _mean_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Equation 13 of the paper, averaged over all windows."""
    luminance, structure = ssim_maps(x, y)
    return plane_mean(luminance * structure)
