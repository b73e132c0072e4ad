"""The fit of `ranksrgan.metrics.aggd` as a differentiable function of the samples.

The shape is the exact inverse of the generalised Gaussian ratio rather than the nearest entry of a
table, whose derivative would be 0 or none; the two differ by 0.0005 at most. Where the fit is
undefined it is so here too, and no gradient comes from there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ranksrgan.metrics.aggd import Aggd, aggd_table

# From the nearest of the table, each step squares a relative error of 1e-3 or less.
_NEWTON_STEPS = 3


def fit_smooth_aggd(samples: Tensor) -> Aggd:
    """Fit each vector of samples; gradients flow, once, through all four parameters.

    Args:
        samples: ``(..., n)`` float64.
    """
    below, above = samples.clamp(max=0), samples.clamp(min=0)
    squares_below, squares_above = _squares(below), _squares(above)
    left, has_left = _deviation(squares_below, below)
    right, has_right = _deviation(squares_above, above)
    both = has_left & has_right
    skew = left / right
    energy = (squares_below + squares_above) / samples.shape[-1]
    size = (above.sum(-1) - below.sum(-1)) / samples.shape[-1]
    ratio = size.square() / torch.where(both, energy, 1.0)
    ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew.square() + 1).square()
    first = aggd_table(samples.device)[0, 0]
    alpha = torch.where(both, shape_of_ratio(torch.where(both, ratio, 0.5)), first)

    scale = ((torch.lgamma(1 / alpha) - torch.lgamma(3 / alpha)) / 2).exp()
    left = torch.where(has_left, left * scale, torch.nan)
    right = torch.where(has_right, right * scale, torch.nan)
    mean = (right - left) * (torch.lgamma(2 / alpha) - torch.lgamma(1 / alpha)).exp()
    return Aggd(alpha, left, right, torch.where(both, mean, torch.nan))


def shape_of_ratio(ratio: Tensor) -> Tensor:
    """The shape a with Γ(2/a)² / (Γ(1/a) Γ(3/a)) = ``ratio``, limited to 0.2 ... 10.

    The derivative is that of the inverse function, 1 / ratio'(a), and 0 where the limits hold.

    Args:
        ratio: any shape, float64.
    """
    shape: Tensor = _ShapeOfRatio.apply(ratio)  # type: ignore[no-untyped-call]
    return shape


class _ShapeOfRatio(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ratio: Tensor) -> Tensor:
        shapes, ratios = aggd_table(ratio.device)[:2]
        lowest, highest = ratios[0], ratios[-1]
        target = ratio.clamp(lowest, highest).contiguous()
        shape: Tensor = shapes[torch.searchsorted(ratios, target).clamp(max=len(shapes) - 1)]
        for _ in range(_NEWTON_STEPS):
            log_ratio, slope = _log_ratio(shape)
            shape = shape - (log_ratio - target.log()) / slope
            shape = shape.clamp(shapes[0], shapes[-1])
        _, slope = _log_ratio(shape)
        inside = (ratio > lowest) & (ratio < highest)
        ctx.save_for_backward(torch.where(inside, 1 / (slope * target), 0.0))
        return shape

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (derivative,) = ctx.saved_tensors
        found: Tensor = gradient * derivative
        return found


def _log_ratio(shape: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm of the ratio at a shape, and its derivative."""
    first, second, third = 1 / shape, 2 / shape, 3 / shape
    value = 2 * torch.lgamma(second) - torch.lgamma(first) - torch.lgamma(third)
    slope = torch.digamma(first) - 4 * torch.digamma(second) + 3 * torch.digamma(third)
    return value, slope / shape.square()


def _squares(side: Tensor) -> Tensor:
    squares: Tensor = torch.linalg.vecdot(side, side)
    return squares


def _deviation(squares: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """Root mean square of the values on one side, 0 elsewhere, and whether there are any; or 1."""
    many = side.count_nonzero(-1)
    exists = many > 0
    mean = squares / many.clamp(min=1)
    return torch.where(exists, mean, 1.0).sqrt(), exists
