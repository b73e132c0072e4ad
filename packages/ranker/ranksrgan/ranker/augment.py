"""What a content is seen through in training: all of its versions through the same."""

from __future__ import annotations

import torch
from torch import Tensor

from ranksrgan.metrics import random_views


def content_views(images: Tensor, group: Tensor, jitter: int, random: torch.Generator) -> Tensor:
    """One random window and orientation for each content; see `random_views`.

    Args:
        images: ``(N, 3, H, W)``.
        group: ``(N,)`` int64: which content, from 0 on.
        jitter: how many pixels the window is smaller.
        random: decides.

    Raises:
        InvalidInput: ``jitter`` leaves no pixel.
    """
    if jitter == 0:
        return images
    seen = random_views(images, jitter, random, group)
    return seen.contiguous(memory_format=torch.channels_last)


def noise(group: Tensor, size: torch.Size, largest: float, random: torch.Generator) -> Tensor:
    """White noise for images of ``size``, of one strength a content from 0 to ``largest``.

    Args:
        group: ``(N,)`` int64: which content, from 0 on.
        size: ``(N, 3, H, W)``.
        largest: standard deviation.
        random: decides.
    """
    strength = torch.rand(int(group.max()) + 1, 1, 1, 1, generator=random, device="cpu")[group]
    drawn = torch.randn(size, generator=random, device="cpu") * strength * largest
    return drawn.contiguous(memory_format=torch.channels_last)
