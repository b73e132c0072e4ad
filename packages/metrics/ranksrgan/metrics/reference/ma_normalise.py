"""`ma_normalise` in plain PyTorch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ranksrgan.metrics.full_reference import plane_mean

SPATIAL = 9

#: A direction with a smaller part of the largest variance is rounding; photographs have 1e-7.
SMALLEST = 1e-12

# Rows that are worked on together, for the cache.
_TOGETHER = 64


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
    factor = (_whitening(_covariance(around)) / predictors**0.5).tolist()

    inside = [one[margin : height - margin, margin : width - margin] for one in around]
    quotient = torch.cat([_divide(some, mean, factor) for some in _strips(inside)])
    return quotient - plane_mean(quotient)


def _divide(around: list[Tensor], mean: Tensor, factor: list[list[float]]) -> Tensor:
    energy = torch.zeros_like(around[0])
    for i, row in enumerate(factor):
        projection = row[i] * around[i]
        for j in range(i + 1, len(around)):
            projection += row[j] * around[j]
        energy += projection * projection
    # Without energy there is no contrast either.
    divisor = torch.where(energy > 0, energy, torch.inf).sqrt()
    return (around[SPATIAL // 2] - mean) / divisor


def _covariance(around: list[Tensor]) -> Tensor:
    """Mean products of the neighbourhood's members, ``(M, M)`` on the CPU."""
    sums = torch.zeros(len(around), len(around), dtype=torch.float64)
    for some in _strips(around):
        for i, one in enumerate(some):
            for j in range(i, len(some)):
                sums[i, j] += (one * some[j]).sum(dim=1).sum().cpu()
    return (sums + sums.triu(1).T) / around[0].numel()


def _strips(around: list[Tensor]) -> Iterator[list[Tensor]]:
    """Some rows of all members at a time, for the cache."""
    for top in range(0, len(around[0]), _TOGETHER):
        yield [one[top : top + _TOGETHER] for one in around]


def _whitening(covariance: Tensor) -> Tensor:
    """The upper triangular R whose RᵀR is the pseudo-inverse of ``(M, M)``."""
    values, vectors = torch.linalg.eigh(covariance)
    inverse = torch.where(values > SMALLEST * values[-1], values, torch.inf).rsqrt()
    factor: Tensor = torch.linalg.qr((vectors * inverse).T, mode="r").R
    return factor
