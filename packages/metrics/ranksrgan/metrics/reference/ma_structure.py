"""`ma_structure` in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ranksrgan.metrics.full_reference import plane_mean

WINDOW = 11

#: Half of the normalised 11-tap Gaussian of sigma 1.5, from the outermost tap to the centre.
TAPS = (
    0.00102838008447911,
    0.007598758135239185,
    0.03600077212843083,
    0.10936068950970002,
    0.2130055377112537,
    0.26601172486179436,
)
_C2 = (0.03 * 255) ** 2


def ma_structure(planes: Sequence[Tensor], first: Sequence[int], second: Sequence[int]) -> Tensor:
    """Mean structural correlation of pairs of planes.

    Args:
        planes: of one shape ``(H, W)``, float64.
        first: of each pair.
        second: of each pair.

    Returns:
        ``(P,)`` float64.
    """
    means = [_smooth(plane) for plane in planes]
    variances = [
        _smooth(plane * plane) - mean * mean for plane, mean in zip(planes, means, strict=True)
    ]
    values = []
    for i, j in zip(first, second, strict=True):
        covariance = _smooth(planes[i] * planes[j]) - means[i] * means[j]
        correlation = (2 * covariance + _C2) / (variances[i] + variances[j] + _C2)
        values.append(plane_mean(correlation))
    return torch.stack(values) if values else planes[0].new_empty(0)


def _smooth(plane: Tensor) -> Tensor:
    """Gaussian-weighted mean of every window that lies inside ``(H, W)``."""
    for axis in (0, 1):
        length = plane.shape[axis] - WINDOW + 1
        total = TAPS[0] * (plane.narrow(axis, 0, length) + plane.narrow(axis, WINDOW - 1, length))
        for k in range(1, WINDOW // 2):
            pair = plane.narrow(axis, k, length) + plane.narrow(axis, WINDOW - 1 - k, length)
            total = total + TAPS[k] * pair
        plane = total + TAPS[-1] * plane.narrow(axis, WINDOW // 2, length)
    return plane
