"""The steerable pyramid of six orientations in space: the two that VIF looks at.

E. P. Simoncelli, W. T. Freeman, "The steerable pyramid: a flexible architecture for multi-scale
derivative computation", IEEE International Conference on Image Processing, 1995. The numbers are
those of the filter set ``sp5Filters`` of matlabPyrTools, which is also in pyrtools (Laboratory for
Computational Vision, MIT licence).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# A filter with the symmetry of the square: of row i, columns i to the centre.
_BEFORE = (
    (0.00341614, -0.01551246, -0.03848215),
    (0.05586982, 0.1592557),
    (0.40304148,),
)
_LOW_PASS = (
    (0.00170808, -0.00489834, -0.00775624, -0.01888864, -0.01924108),
    (-0.01046562, -0.01322234, 0.008212, 0.02005976),
    (0.02793492, 0.06554076, 0.07962786),
    (0.12852666, 0.16339236),
    (0.2019308,),
)
# Upright edges: even from top to bottom, odd from left to right. Columns 0 to 2 of rows 0 to 3.
_EDGES = (
    (0.00277643, -0.00986904, -0.01021852),
    (0.00496194, -0.00893064, -0.03075356),
    (0.01026699, 0.01189859, -0.08226445),
    (0.01455399, 0.02755155, -0.11732297),
)


def _with_symmetry_of_square(octant: Sequence[Sequence[float]]) -> Tensor:
    radius = len(octant) - 1
    size = 2 * radius + 1
    kernel = torch.empty(size, size, dtype=torch.float64)
    for i in range(size):
        for j in range(size):
            outer, inner = sorted((min(i, size - 1 - i), min(j, size - 1 - j)))
            kernel[i, j] = octant[outer][inner - outer]
    return kernel


def _upright_edges() -> Tensor:
    left = torch.tensor(_EDGES, dtype=torch.float64)
    upper = torch.cat([left, torch.zeros(len(left), 1, dtype=torch.float64), -left.flip(1)], dim=1)
    return torch.cat([upper, upper[:-1].flip(0)])


BEFORE = _with_symmetry_of_square(_BEFORE)
LOW_PASS = _with_symmetry_of_square(_LOW_PASS)
UPRIGHT = _upright_edges()
LEVEL = UPRIGHT.T

#: Below it the low-pass filter of the last level is larger than what it filters.
MIN_SIDE = len(LOW_PASS) * 2**3


def bands(plane: Tensor, levels: int = 4) -> list[tuple[Tensor, Tensor]]:
    """Upright and level edges of a plane at each scale, finest first.

    Beyond the edge the plane continues as its mirror image, the edge pixel not repeated.

    Args:
        plane: ``(H, W)`` float64, both sides `MIN_SIDE` or more.
        levels: how many scales, at most four.

    Returns:
        For level k, counted from 0, two of ``(ceil(H / 2^k), ceil(W / 2^k))``.
    """
    found = []
    plane = correlate(plane, BEFORE)
    for level in range(levels):
        if level:
            plane = correlate(plane, LOW_PASS, step=2)
        found.append((correlate(plane, UPRIGHT), correlate(plane, LEVEL)))
    return found


def correlate(plane: Tensor, kernel: Tensor, step: int = 1) -> Tensor:
    """Correlation with a small odd kernel at every ``step``-th row and column."""
    radius = len(kernel) // 2
    height, width = plane.shape
    padded = F.pad(plane[None], (radius,) * 4, mode="reflect")[0]
    total = torch.zeros_like(plane[::step, ::step])
    for i, row in enumerate(kernel.tolist()):
        for j, weight in enumerate(row):
            if weight:
                shifted = padded[i : i + height : step, j : j + width : step]
                total += shifted * weight
    return total
