"""Shape of a generalised Gaussian by moment matching and table look-up.

K. Sharifi, A. Leon-Garcia, "Estimation of shape parameter for generalized Gaussian distributions in
subband decompositions of video", IEEE Trans. CSVT 5(1), 1995; tabulated as in the software of Ma et
al. (see `ranksrgan.metrics.ma.scorer`).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

#: Added to the squared mean deviation before it divides the variance.
FLOOR = 1e-7

# The shapes that are tried: 0.03, 0.031, ... 10.
_SHAPES = [(30 + i) / 1000 for i in range(9971)]


def ggd_shape(ratios: Tensor) -> Tensor:
    """The shape whose tabulated ratio is nearest, the smaller one on a tie.

    A generalised Gaussian of shape g has a variance of Γ(1/g) Γ(3/g) / Γ(2/g)² times its squared
    mean absolute deviation. That falls as g grows, so a constant (ratio 0) has the last shape, 10.

    Args:
        ratios: ``(...)`` float64, the variance (N - 1) over the squared mean absolute deviation
            plus `FLOOR`.

    Returns:
        ``(...)`` float64, 0.03 to 10.
    """
    shapes, rising = _table(ratios.device)
    upper = torch.searchsorted(rising, ratios.contiguous()).clamp(1, len(rising) - 1)
    lower = upper - 1
    is_lower = (ratios - rising[lower]).abs() < (rising[upper] - ratios).abs()
    return shapes[torch.where(is_lower, lower, upper)]


@lru_cache(maxsize=8)
def _table(device: torch.device) -> tuple[Tensor, Tensor]:
    """The shapes from the largest down, and the ratio of each, which rises."""
    ratios = [
        math.gamma(1 / g) * math.gamma(3 / g) / math.gamma(2 / g) ** 2 for g in reversed(_SHAPES)
    ]
    return (
        torch.tensor(_SHAPES[::-1], dtype=torch.float64, device=device),
        torch.tensor(ratios, dtype=torch.float64, device=device),
    )
