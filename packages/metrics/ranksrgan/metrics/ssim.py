"""Structural similarity of luma planes.

Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from error
visibility to structural similarity", IEEE Transactions on Image Processing 13(4), 2004.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall
from ranksrgan.metrics.full_reference import FullReferenceScorer, luma_plane_pairs, plane_mean
from ranksrgan.metrics.luma import Convention

WINDOW = 11
_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


def ssim(images: Tensor, references: Tensor, border: int = 0, luma: Convention = "y") -> Tensor:
    """Mean SSIM of luma; higher is better, 1 for equal images.

    Wang's own settings: Gaussian window of 11 x 11 with sigma 1.5, K = (0.01, 0.03), population
    moments, and only windows that lie inside the image, which is not shrunk first. ``luma="gray"``
    is MATLAB's, rounded, which the published values of the author's own program are made with;
    ``luma="y"`` is not rounded, as in the tables of super-resolution.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.
        references: of the same shape, floating point or uint8.
        border: pixels to leave out on every side.
        luma: ``"y"`` or ``"gray"``.

    Returns:
        ``(N,)`` float64 on the device of ``images``, -1 to 1.

    Raises:
        InvalidInput: wrong shape, type, range or option, or the two differ in size.
        ImageTooSmall: less than one window is left inside the border.
    """
    pairs = luma_plane_pairs(images, references, border, luma, rounded=luma != "y")
    return torch.stack([_mean_ssim(plane, reference) for plane, reference in pairs])


class Ssim(FullReferenceScorer):
    """`ssim` as a `Scorer`."""

    metric = "ssim"
    version = "1"
    higher_is_better = True
    min_side = WINDOW
    lowest, highest = -1.0, 1.0
    measure = staticmethod(ssim)


def _mean_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Equation 13 of the paper, averaged over all windows."""
    if min(x.shape) < WINDOW:
        raise ImageTooSmall(
            f"{x.shape[0]} x {x.shape[1]} pixels hold no window of {WINDOW} x {WINDOW}",
            field="images",
        )
    products = torch.stack([x, y, x * x, y * y, x * y])
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _local_means(products)
    variances = (mean_xx - mean_x**2) + (mean_yy - mean_y**2)
    covariance = mean_xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variances + _C2)
    return plane_mean(luminance * structure)


def _local_means(planes: Tensor) -> Tensor:
    """Gaussian-weighted mean in every window that lies inside ``(K, H, W)``.

    Sums of shifted planes, not a convolution: those may add in another order on other machines.
    """
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    bell = (-(offsets**2) / (2 * _SIGMA**2)).exp()
    weights: list[float] = (bell / bell.sum()).tolist()
    for axis in (1, 2):
        windows = planes.unfold(axis, WINDOW, 1)
        planes = windows[..., 0] * weights[0]
        for k in range(1, WINDOW):
            planes = planes + windows[..., k] * weights[k]
    return planes
