"""What a pair is seen through in training. Both members are always seen through the same."""

from __future__ import annotations

import torch
from torch import Tensor

from ranksrgan.metrics import random_views


def pair_views(images: Tensor, jitter: int, random: torch.Generator) -> Tensor:
    """One random window and orientation for each pair; see `random_views`.

    Args:
        images: ``(2B, 3, H, W)``: all first members, then all second ones.
        jitter: how many pixels the window is smaller.
        random: decides.

    Raises:
        InvalidInput: ``jitter`` leaves no pixel.
    """
    if jitter == 0:
        return images
    a, b = images.chunk(2)
    seen = torch.cat(random_views(torch.cat([a, b], dim=1), jitter, random).chunk(2, dim=1))
    return seen.contiguous(memory_format=torch.channels_last)


def noise(shape: torch.Size, largest: float, random: torch.Generator) -> Tensor:
    """White noise for ``(2B, 3, H, W)``, of one strength a pair from 0 to ``largest``."""
    strength = torch.rand(shape[0] // 2, 1, 1, 1, generator=random).repeat(2, 1, 1, 1)
    drawn = torch.randn(shape, generator=random) * strength * largest
    return drawn.contiguous(memory_format=torch.channels_last)
