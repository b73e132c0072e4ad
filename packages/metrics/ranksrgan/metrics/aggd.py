"""Asymmetric generalised Gaussian fits by moment matching and table look-up.

Lasmar, Stitou, Berthoumieu, "Multiscale skewed heavy tailed model for texture analysis", ICIP 2009;
as NIQE's software release does it, undefined values included.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

# The shapes that are tried: 0.2, 0.201, ... 10.
_SHAPES = [0.2 + 0.001 * i for i in range(9801)]


class Aggd(NamedTuple):
    """Fitted parameters, each ``(...)`` float64.

    ``alpha`` is always a number. ``left`` or ``right`` is NaN where no sample lies on that side,
    and ``mean`` where either is.
    """

    alpha: Tensor
    left: Tensor  # scale below zero, the paper's beta_l
    right: Tensor  # scale above zero, beta_r
    mean: Tensor  # (right - left) Γ(2/alpha) / Γ(1/alpha), the paper's eta


def fit_aggd(samples: Tensor, table: Tensor | None = None) -> Aggd:
    """Fit each vector of samples.

    The deviations below and above zero leave out the zeros; their ratio and the generalised
    Gaussian ratio E[|v|]² / E[v²] give the shape whose tabulated ratio is nearest, the smaller one
    on a tie. Without a ratio (a side is empty) MATLAB's ``min`` picks the first shape, 0.2, and so
    does this.

    Args:
        samples: ``(..., n)`` float32 or float64.
        table: of `aggd_table`, for a caller who has it at hand.
    """
    shapes, ratios, scales, means = aggd_table(samples.device) if table is None else table
    squares = samples.square()
    below, above = samples < 0, samples > 0
    # 0 / 0 is NaN, as wanted.
    left = (squares.where(below, 0).sum(-1).double() / below.sum(-1)).sqrt()
    right = (squares.where(above, 0).sum(-1).double() / above.sum(-1)).sqrt()
    skew = left / right
    ratio = samples.abs().mean(-1).double().square() / squares.mean(-1).double()
    ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew.square() + 1).square()

    defined = ratio.isfinite()
    wanted = ratio.where(defined, 0).contiguous()
    upper = torch.searchsorted(ratios, wanted).clamp(1, len(ratios) - 1)
    lower = upper - 1
    to_lower = (ratios[lower] - wanted).square()
    to_upper = (ratios[upper] - wanted).square()
    best = torch.where(to_lower <= to_upper, lower, upper).where(defined, 0)

    left = left * scales[best]
    right = right * scales[best]
    return Aggd(shapes[best], left, right, (right - left) * means[best])


@lru_cache(maxsize=8)
def aggd_table(device: torch.device) -> Tensor:
    """``(4, 9801)`` float64: for each shape a, from 0.2 to 10 by 0.001, the shape itself, the ratio
    Γ(2/a)² / (Γ(1/a) Γ(3/a)), which increases strictly, sqrt(Γ(1/a) / Γ(3/a)) and Γ(2/a) / Γ(1/a).
    """
    inverse = [1 / shape for shape in _SHAPES]
    first, second, third = ([math.gamma(k * x) for x in inverse] for k in (1, 2, 3))
    ratio = [g2 * g2 / (g1 * g3) for g1, g2, g3 in zip(first, second, third, strict=True)]
    scale = [math.sqrt(g1 / g3) for g1, g3 in zip(first, third, strict=True)]
    mean = [g2 / g1 for g1, g2 in zip(first, second, strict=True)]
    with torch.inference_mode(False):  # who comes first must not spoil it for the others
        return torch.tensor([_SHAPES, ratio, scale, mean], dtype=torch.float64, device=device)
