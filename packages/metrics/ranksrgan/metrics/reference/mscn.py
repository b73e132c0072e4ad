"""`mscn` in plain PyTorch.

The order of every sum is part of the definition (the vertical pass first; in a pass the outermost
pair of taps first): the variance E[x^2] - E[x]^2 cancels almost wholly in flat areas and the root
magnifies what is left, so that only the same order gives the same deviation.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Half of the normalised 7-tap Gaussian of sigma 7/6, from the outermost tap to the centre.
TAPS = (0.01256020046847462, 0.07882796468173003, 0.2372960771171706, 0.3426315154652495)
REACH = len(TAPS) - 1

#: A pixel this close to its local mean is on it; what is left is rounding, whose sign is noise.
SNAP = 1e-9


def mscn(planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean-subtracted contrast-normalised planes, with the local mean and deviation.

    Args:
        planes: ``(N, H, W)`` float32 or float64 on the 0..255 scale.

    Returns:
        ``(normalised, mean, deviation)``, each ``(N, H, W)`` of the type of ``planes``; computed
        in float64 and rounded once.
    """
    exact = planes.double()
    mean, deviation = local_statistics(exact)
    difference = exact - mean
    # Subtracting a constant keeps the gradient of the smooth function in snapped pixels.
    difference = difference - torch.where(difference.abs() < SNAP, difference, 0.0).detach()
    normalised = difference / (deviation + 1.0)
    return normalised.to(planes.dtype), mean.to(planes.dtype), deviation.to(planes.dtype)


def local_statistics(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Gaussian-weighted local mean and deviation, the border pixels repeated outwards.

    Args:
        planes: ``(N, H, W)`` float64.

    Returns:
        ``(mean, deviation)``, each ``(N, H, W)``. The gradient of the deviation is 0 where the
        deviation is 0.
    """
    mean = _smooth(planes)
    variance = (_smooth(planes * planes) - mean * mean).abs()
    flat = variance == 0.0
    deviation = torch.where(flat, 0.0, torch.where(flat, 1.0, variance).sqrt())
    return mean, deviation


def _smooth(planes: Tensor) -> Tensor:
    return _smooth_along(_smooth_along(planes, -2), -1)


def _smooth_along(planes: Tensor, axis: int) -> Tensor:
    length = planes.shape[axis]
    positions = torch.arange(-REACH, length + REACH, device=planes.device)
    padded = planes.index_select(axis, positions.clamp(0, length - 1))
    total = TAPS[0] * (padded.narrow(axis, 0, length) + padded.narrow(axis, 2 * REACH, length))
    for offset in range(1, REACH):
        before = padded.narrow(axis, offset, length)
        after = padded.narrow(axis, 2 * REACH - offset, length)
        total = total + TAPS[offset] * (before + after)
    return total + TAPS[REACH] * padded.narrow(axis, REACH, length)
