"""Singular values of an image cut into small blocks: the last 75 features of Ma.

C. Ma, C.-Y. Yang, X. Yang, M.-H. Yang, "Learning a no-reference quality metric for single-image
super-resolution", Computer Vision and Image Understanding 158, 2017, section 3.3.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 5
VALUES = SIDE * SIDE

# Blocks that are orthogonalised together: few enough for the cache, and for torch to add a row of
# them in one thread.
_TOGETHER = 4096


def singular_values(plane: Tensor) -> Tensor:
    """The singular values of the matrix whose columns are the blocks of 5x5, largest first.

    Blocks do not overlap; the plane is continued with 0 at the bottom and on the right to fill the
    last ones.

    Args:
        plane: ``(H, W)`` float64; 25 blocks or more.

    Returns:
        ``(25,)`` float64 on the CPU.
    """
    height, width = plane.shape
    rows, columns = -(-height // SIDE), -(-width // SIDE)
    padded = F.pad(plane, (0, SIDE * columns - width, 0, SIDE * rows - height))
    blocks = padded.reshape(rows, SIDE, columns, SIDE).permute(1, 3, 0, 2).reshape(VALUES, -1)
    # The triangle of all blocks so far has their singular values. It is taken by modified
    # Gram-Schmidt, as accurate as Householder's reflections for this and, unlike LAPACK's, the same
    # to the bit with any number of threads.
    triangle = blocks.new_zeros((VALUES, 0))
    for some in torch.split(blocks, _TOGETHER, dim=1):
        triangle = _triangle(torch.cat([triangle, some], dim=1))
    values: Tensor = torch.linalg.svdvals(triangle.cpu())
    return values


def _triangle(rows: Tensor) -> Tensor:
    """The lower triangular L of ``rows = L Q`` with orthonormal rows in Q; overwrites ``rows``."""
    triangle = rows.new_zeros((len(rows), len(rows)))
    for k in range(len(rows)):
        length = rows[k].square().sum().sqrt()
        if length == 0:  # that row is a mixture of those before
            continue
        direction = rows[k] / length
        rest = rows[k + 1 :]
        along = (rest * direction).sum(dim=1)
        triangle[k, k] = length
        triangle[k + 1 :, k] = along
        rest -= along[:, None] * direction
    return triangle
