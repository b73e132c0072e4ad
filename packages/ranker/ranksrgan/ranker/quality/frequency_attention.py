"""Attention to channels by more than their means.

Z. Qin et al., "FcaNet: frequency channel attention networks", ICCV 2021. Where a
squeeze-and-excitation block (Hu et al., CVPR 2018) averages each channel, this takes one
coefficient of its discrete cosine transform: groups of channels have frequencies of their own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: The best sixteen frequencies of the paper, (down, across) on a grid of 7 x 7.
FREQUENCIES = tuple(
    zip(
        (0, 0, 6, 0, 0, 1, 1, 4, 5, 1, 3, 0, 0, 0, 3, 2),
        (0, 1, 0, 5, 2, 0, 2, 0, 0, 6, 0, 4, 6, 3, 5, 2),
        strict=True,
    )
)

_GRID = 7
_REDUCTION = 16


class FrequencyAttention(nn.Module):
    """Scales each channel by a number in 0..1 that depends on all of them.

    Maps are averaged over the cells of the grid first, as in the paper's code, so that any size
    goes.

    Args:
        channels: of the maps; group i of as many as there are frequencies has the i-th. Where they
            cannot be divided so, the largest number of groups that can is taken, with the best
            frequencies.
        frequencies: (down, across), each below 7, the best first. (0, 0) alone makes it a
            squeeze-and-excitation block, but for a factor of `grid` before its first layer.
        grid: side of the grid, a multiple of 7, which multiplies the frequencies too.
    """

    basis: Tensor

    def __init__(
        self,
        channels: int,
        frequencies: tuple[tuple[int, int], ...] = FREQUENCIES,
        grid: int = _GRID,
    ) -> None:
        super().__init__()
        groups = math.gcd(channels, len(frequencies))
        factor = grid // _GRID
        waves = [
            torch.outer(_cosine(factor * down, grid), _cosine(factor * across, grid))
            for down, across in frequencies[:groups]
        ]
        basis = torch.stack(waves).repeat_interleave(channels // groups, dim=0)
        self.register_buffer("basis", basis.float(), persistent=False)
        hidden = max(1, channels // _REDUCTION)
        self.reduce = nn.Linear(channels, hidden, bias=False)
        self.expand = nn.Linear(hidden, channels, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """``(N, C, h, w)`` of ``(N, C, h, w)``."""
        pooled = F.adaptive_avg_pool2d(maps, self.basis.shape[-1])
        coefficients = (pooled * self.basis).sum((2, 3))
        scales: Tensor = self.expand(F.relu(self.reduce(coefficients))).sigmoid()
        return maps * scales[:, :, None, None]


def _cosine(frequency: int, length: int) -> Tensor:
    """One row of the orthonormal discrete cosine transform, float64."""
    places = torch.arange(length, dtype=torch.float64) + 0.5
    size = math.sqrt((2 if frequency else 1) / length)
    return size * torch.cos(math.pi * frequency * places / length)
