"""Losses of pixels, and what else two tensors of one shape can be compared by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Criterion = Literal["l1", "mse", "charbonnier"]

#: Below it the Charbonnier loss is nearly a parabola, above it nearly the absolute difference.
CHARBONNIER_EPSILON = 1e-3


def charbonnier_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + epsilon^2), d the difference and epsilon 0.001 (LapSRN, Lai et al. 2017).

    A smooth L1. The published code sums it over the batch; here it is a mean as the others are.
    """
    return ((found - wanted).square() + CHARBONNIER_EPSILON**2).sqrt().mean()


#: What compares two tensors of one shape; each is a mean over all elements.
CRITERIA: dict[Criterion, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "mse": F.mse_loss,
    "charbonnier": charbonnier_loss,
}


def pixel_loss(sr: Tensor, hr: Tensor, criterion: Criterion) -> Tensor:
    """Mean absolute, squared or Charbonnier difference of ``(N, 3, H, W)`` images."""
    return CRITERIA[criterion](sr, hr)
