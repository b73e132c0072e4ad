"""Where windows lie that cover an image evenly, and overlap."""

from __future__ import annotations

import math


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


def coverage(side: int, stride: int) -> float:
    """In how many windows a pixel lies on average, at most, whatever the size of the image."""
    return max(2.0, side / stride) ** 2


def _starts(room: int, stride: int) -> list[int]:
    steps = math.ceil(room / stride)
    return [round(room * step / steps) for step in range(steps + 1)] if steps else [0]
