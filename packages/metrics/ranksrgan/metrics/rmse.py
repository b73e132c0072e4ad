"""Root-mean-square error of luma planes: the distortion axis of PIRM2018."""

from __future__ import annotations

import torch
from torch import Tensor

from ranksrgan.metrics.full_reference import FullReferenceScorer, luma_plane_pairs, plane_mean
from ranksrgan.metrics.luma import Convention


def rmse(images: Tensor, references: Tensor, border: int = 0, luma: Convention = "y") -> Tensor:
    """Root of the mean squared difference of luma rounded to 8 bits, in grey levels of 255.

    Lower is better. PIRM2018 uses ``luma="y"`` and a border of 4, and gives a data set the root of
    its images' *mean squared* errors: ``rmse(...).square().mean().sqrt()``.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.
        references: of the same shape, floating point or uint8.
        border: pixels to leave out on every side.
        luma: ``"y"`` or ``"gray"``.

    Returns:
        ``(N,)`` float64 on the device of ``images``.

    Raises:
        InvalidInput: wrong shape, type, range or option, or the two differ in size.
        ImageTooSmall: nothing is left inside the border.
    """
    pairs = luma_plane_pairs(images, references, border, luma, rounded=True)
    return torch.stack([plane_mean((x - y).square()) for x, y in pairs]).sqrt()


class Rmse(FullReferenceScorer):
    """`rmse` as a `Scorer`."""

    metric = "rmse"
    version = "1"
    higher_is_better = False
    min_side = 1
    lowest, highest = 0.0, 255.0
    measure = staticmethod(rmse)
