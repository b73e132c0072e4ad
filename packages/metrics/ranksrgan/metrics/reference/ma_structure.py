"""`ma_structure` in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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

# Rows of windows that are worked on together, for the cache; no effect on the values.
_TOGETHER = 64


def ma_structure(planes: Sequence[Tensor], first: Sequence[int], second: Sequence[int]) -> Tensor:
    """Mean structural correlation of pairs of planes.

    Args:
        planes: of one shape ``(H, W)``, float64.
        first: of each pair.
        second: of each pair.

    Returns:
        ``(P,)`` float64.
    """
    high, wide = (side - WINDOW + 1 for side in planes[0].shape)
    sums = [
        _row_sums([plane[top : top + _TOGETHER + WINDOW - 1] for plane in planes], first, second)
        for top in range(0, high, _TOGETHER)
    ]
    return torch.cat(sums, dim=1).sum(dim=1) / (high * wide)


def _row_sums(planes: Sequence[Tensor], first: Sequence[int], second: Sequence[int]) -> Tensor:
    """The correlation of each pair, summed along each row of windows: ``(P, rows)``."""
    means = [_smooth(plane) for plane in planes]
    variances = [
        _smooth(plane * plane) - mean * mean for plane, mean in zip(planes, means, strict=True)
    ]
    sums = [means[0].new_empty((0, len(means[0])))]
    for i, j in zip(first, second, strict=True):
        covariance = _smooth(planes[i] * planes[j]) - means[i] * means[j]
        correlation = (2 * covariance + _C2) / (variances[i] + variances[j] + _C2)
        sums.append(correlation.sum(dim=1)[None])
    return torch.cat(sums)


def _smooth(plane: Tensor) -> Tensor:
    """Gaussian-weighted mean of every window that lies inside ``(H, W)``."""
    for axis in (0, 1):
        length = plane.shape[axis] - WINDOW + 1
        total = TAPS[0] * (plane.narrow(axis, 0, length) + plane.narrow(axis, WINDOW - 1, length))
        for k in range(1, WINDOW // 2):
            pair = plane.narrow(axis, k, length) + plane.narrow(axis, WINDOW - 1 - k, length)
            total += pair.mul_(TAPS[k])
        total += TAPS[-1] * plane.narrow(axis, WINDOW // 2, length)
        plane = total
    return plane
