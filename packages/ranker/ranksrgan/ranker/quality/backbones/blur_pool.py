"""Subsampling that does not alias: R. Zhang, "Making convolutional networks shift-invariant
again", ICML 2019."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BlurPool(nn.Module):
    """Every second pixel of the picture blurred by [1, 2, 1] / 4 in both directions.

    The border is repeated, so that a constant picture stays what it is. The filter is no weight: a
    network has the same keys with and without it.

    Args:
        channels: of the picture.
    """

    window: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        binomial = torch.tensor([0.25, 0.5, 0.25])
        window = torch.outer(binomial, binomial).repeat(channels, 1, 1, 1)
        self.register_buffer("window", window, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, (H + 1) // 2, (W + 1) // 2)`` of ``(N, C, H, W)``."""
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.conv2d(padded, self.window, stride=2, groups=len(self.window))


def blurred_maximum(channels: int) -> nn.Module:
    """Takes the place of ``MaxPool2d(3, stride=2)``, with outputs of the same size or one more."""
    return nn.Sequential(nn.MaxPool2d(3, stride=1), BlurPool(channels))
