"""Bilinear and bicubic enlargement by whole factors, by one small filter for each output phase.

A resize that computes positions in floating point places a pixel a little differently at coordinate
1000 than at 10, so that a tile of an image would not equal the image. Here the filters are fixed
numbers, the same for every pixel.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def filters(kind: Literal["linear", "cubic"], scale: int) -> Tensor:
    """The filters of all phases.

    Output pixel ``scale * i + p`` lies ``(p + 1/2) / scale - 1/2`` input pixels after pixel i.

    Args:
        kind: ``linear`` (reaches one pixel), or ``cubic`` by Keys with a = -1/2 as in MATLAB
            (reaches two).
        scale: a whole factor.

    Returns:
        ``(scale ** 2, 1, n, n)`` float32, n = 3 or 5; each sums to 1. Rows of phases come first, as
        a pixel shuffle wants them.
    """
    reach = {"linear": 1, "cubic": 2}[kind]
    phases = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    distance = (torch.arange(-reach, reach + 1) - phases[:, None]).abs()
    if kind == "linear":
        weights = (1 - distance).clamp(min=0)
    else:
        near = 1.5 * distance**3 - 2.5 * distance**2 + 1
        far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
        weights = torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))
    planes = torch.einsum("pi,qj->pqij", weights, weights)
    return planes.reshape(scale**2, 1, 2 * reach + 1, 2 * reach + 1).float()


def enlarge_by(filters: Tensor, x: Tensor) -> Tensor:
    """Enlarge every channel of ``(N, C, H, W)``; beyond its border an image repeats its edge.

    Computes in the precision of the filters, which are those of `filters`.
    """
    count, channels, height, width = x.shape
    phases, reach = filters.shape[0], filters.shape[-1] // 2
    planes = x.to(filters.dtype).reshape(count * channels, 1, height, width)
    with torch.autocast(x.device.type, enabled=False):
        padded = F.pad(planes, (reach, reach, reach, reach), mode="replicate")
        enlarged = F.pixel_shuffle(F.conv2d(padded, filters), round(phases**0.5))
    return enlarged.reshape(count, channels, *enlarged.shape[2:])
