"""Where windows lie that cover an image evenly."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def covering_windows(height: int, width: int, side: int, stride: int) -> list[tuple[int, int]]:
    """Top left corners of square windows that reach every pixel.

    Args:
        height, width: of the image, at least ``side``.
        side: of the windows.
        stride: the most that two neighbours may be apart.

    Returns:
        ``(top, left)`` by rows; the first is (0, 0) and the last ends with the image.
    """
    tops, lefts = (_starts(length - side, stride) for length in (height, width))
    return [(top, left) for top in tops for left in lefts]


def random_windows(height: int, width: int, side: int, count: int) -> list[tuple[int, int]]:
    """As `covering_windows`, but anywhere, by PyTorch's global generator."""
    tops = torch.randint(height - side + 1, (count,)).tolist()
    lefts = torch.randint(width - side + 1, (count,)).tolist()
    return list(zip(tops, lefts, strict=True))


def cut_windows(images: Tensor, windows: list[tuple[int, int]], side: int) -> Tensor:
    """``(W, N, C, side, side)``: each window of each of ``(N, C, H, W)`` images."""
    return torch.stack(
        [images[..., top : top + side, left : left + side] for top, left in windows]
    )


def _starts(room: int, stride: int) -> list[int]:
    steps = math.ceil(room / stride)
    return [round(room * step / steps) for step in range(steps + 1)] if steps else [0]
