"""`ma_normalise` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from ranksrgan.metrics.full_reference import plane_mean

SPATIAL = 9


def ma_normalise(bands: Tensor, parents: Tensor, margin: int) -> Tensor:
    """Divide each band by the local energy that its neighbourhood predicts.

    Args:
        bands: ``(6, H, W)`` float64, the orientations of one scale.
        parents: ``(P, H, W)`` float64, P at most 6: the next scale's first orientations.
        margin: pixels to leave out on every side after the one that the neighbourhood takes.

    Returns:
        ``(6, H - 2 - 2 margin, W - 2 - 2 margin)``, each of mean 0.
    """
    return torch.stack([_normalise(bands, parents, k, margin) for k in range(len(bands))])


def _normalise(bands: Tensor, parents: Tensor, k: int, margin: int) -> Tensor:
    height, width = bands.shape[1] - 2, bands.shape[2] - 2
    around = [bands[k, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    around += [band[1:-1, 1:-1] for j, band in enumerate(bands) if j != k]
    predictors = SPATIAL
    if k < len(parents):
        around.append(parents[k, 1:-1, 1:-1])
        predictors += 1  # the other orientations are not counted
    mean = plane_mean(around[SPATIAL // 2])
    factor = whitening(_covariance(around)) / predictors**0.5

    high, wide = height - 2 * margin, width - 2 * margin
    around = [one[margin : margin + high, margin : margin + wide] for one in around]
    energy = torch.zeros_like(around[0])
    for i, row in enumerate(factor.tolist()):
        projection = row[i] * around[i]
        for j in range(i + 1, len(around)):
            projection = projection + row[j] * around[j]
        energy = energy + projection * projection
    # Without energy there is no contrast either.
    divisor = torch.where(energy > 0, energy, torch.inf).sqrt()
    quotient = (around[SPATIAL // 2] - mean) / divisor
    return quotient - plane_mean(quotient)


def _covariance(around: list[Tensor]) -> Tensor:
    """Mean products of the neighbourhood's members, ``(M, M)`` on the CPU."""
    covariance = torch.zeros(len(around), len(around), dtype=torch.float64)
    for i, one in enumerate(around):
        for j in range(i, len(around)):
            covariance[i, j] = covariance[j, i] = plane_mean(one * around[j])
    return covariance


def whitening(covariance: Tensor) -> Tensor:
    """The upper triangular R whose RᵀR is the pseudo-inverse of ``(..., M, M)``."""
    values, vectors = torch.linalg.eigh(covariance)
    smallest = covariance.shape[-1] * torch.finfo(values.dtype).eps * values[..., -1:]
    inverse = torch.where(values > smallest, values, torch.inf).rsqrt()
    factor: Tensor = torch.linalg.qr((vectors * inverse[..., None, :]).mT, mode="r").R
    return factor
