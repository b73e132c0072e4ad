"""`patch_crops` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from ranksrgan.metrics.reference.mscn import local_statistics

#: MATLAB's rgb2gray: the first row of the inverse of the NTSC matrix.
GREY = (0.298936021293776, 0.587043074451121, 0.114020904255103)

# Crops whose deviation is computed at a time: bounds the memory, has no effect on the values.
_TOGETHER = 16


def patch_crops(images: Tensor, size: int, stride: int) -> tuple[Tensor, Tensor]:
    """All crops of ``images`` and their sharpness: see `crops` and `sharpness`."""
    cut = crops(images, size, stride)
    return cut, sharpness(cut)


def crops(images: Tensor, size: int, stride: int) -> Tensor:
    """Crops at every multiple of ``stride`` that fits, row by row.

    Args:
        images: ``(N, C, H, W)`` of any type.
        size: side of a crop, at most H and W.
        stride: step between crops.

    Returns:
        ``(N, P, C, size, size)`` of the type of ``images``.
    """
    windows = images.unfold(2, size, stride).unfold(3, size, stride)
    batch, channels, rows, columns = windows.shape[:4]
    in_order = windows.permute(0, 2, 3, 1, 4, 5)
    return in_order.reshape(batch, rows * columns, channels, size, size)


def sharpness(crops: Tensor) -> Tensor:
    """Mean local deviation of each crop's grey plane, on the 0..255 scale.

    Args:
        crops: ``(N, P, 3|1, size, size)``, uint8 or floating point in [0, 1].

    Returns:
        ``(N, P)`` float64.
    """
    exact = crops.double()
    if crops.is_floating_point():
        exact = exact * 255.0
    if crops.shape[2] == 1:
        grey = exact[:, :, 0]
    else:
        red, green, blue = exact.unbind(2)
        grey = GREY[0] * red + GREY[1] * green + GREY[2] * blue
    parts = torch.split(grey.flatten(0, 1), _TOGETHER)
    means = [local_statistics(part)[1].mean((1, 2)) for part in parts]
    return torch.cat(means).reshape(crops.shape[:2])
