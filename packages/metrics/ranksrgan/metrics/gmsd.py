"""Gradient magnitude similarity deviation (GMSD).

W. Xue, L. Zhang, X. Mou, A. C. Bovik, "Gradient magnitude similarity deviation: a highly efficient
perceptual image quality index", IEEE Transactions on Image Processing 23(2), 2014.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall
from ranksrgan.metrics.filters import gradient_magnitude, mean_pool, similarity
from ranksrgan.metrics.full_reference import LumaScorer, luma_plane_pairs, plane_mean
from ranksrgan.metrics.luma import Convention

_C = 170.0  # for grey levels of 0 to 255
_MIN_SIDE = 3


def gmsd(images: Tensor, references: Tensor, border: int = 0, luma: Convention = "y") -> Tensor:
    """GMSD; lower is better, 0 for equal images.

    The standard deviation, over the image, of how similar the lengths of the Prewitt gradients are,
    after one averaging over 2 x 2 pixels. Beyond the edge the image is 0 and the deviation is that
    of a sample, both as in the authors' program, whose published values are made with
    ``luma="gray"``.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.
        references: of the same shape, floating point or uint8.
        border: pixels to leave out on every side.
        luma: ``"y"``, not rounded, or ``"gray"``.

    Returns:
        ``(N,)`` float64 on the device of ``images``, 0 to 1.

    Raises:
        InvalidInput: wrong shape, type, range or option, or the two differ in size.
        ImageTooSmall: a side is below 3 pixels without the border.
    """
    pairs = luma_plane_pairs(images, references, border, luma, rounded=luma != "y")
    return torch.stack([_deviation(x, y) for x, y in pairs])


class Gmsd(LumaScorer):
    """`gmsd` as a `Scorer`."""

    metric = "gmsd"
    higher_is_better = False
    min_side = _MIN_SIDE
    lowest, highest = 0.0, 1.0
    measure = staticmethod(gmsd)


def _deviation(x: Tensor, y: Tensor) -> Tensor:
    if min(x.shape) < _MIN_SIDE:
        raise ImageTooSmall(
            f"{x.shape[0]} x {x.shape[1]} pixels are too few for GMSD: {_MIN_SIDE} x {_MIN_SIDE} "
            "are wanted",
            field="images",
        )
    magnitude_x, magnitude_y = (
        gradient_magnitude(mean_pool(plane, 2), side=1 / 3, middle=1 / 3) for plane in (x, y)
    )
    similarities = similarity(magnitude_x, magnitude_y, _C)
    variance = plane_mean((similarities - plane_mean(similarities)).square())
    count = similarities.numel()
    return (variance * (count / (count - 1))).sqrt()
