"""Images as patches: a grid that leaves no pixel out, or some at random places."""

from __future__ import annotations

import torch
from torch import Tensor


def grid(images: Tensor, size: int) -> Tensor:
    """All patches of a grid, side by side; the last of a row or column overlaps the one before it
    where the side of the image is no multiple, so that every pixel is in one.

    Args:
        images: ``(N, C, H, W)``, H and W at least ``size``.
        size: side of a patch in pixels.

    Returns:
        ``(N, P, C, size, size)``, row by row.
    """
    tops, lefts = (_starts(side, size) for side in images.shape[-2:])
    return torch.stack(
        [
            images[..., top : top + size, left : left + size]  #
            for top in tops
            for left in lefts
        ],
        dim=1,
    )


def at_random(images: Tensor, references: Tensor, size: int, count: int) -> tuple[Tensor, Tensor]:
    """``count`` patches of each image at places of its own, and those of its reference there.

    Draws from PyTorch's own random numbers, as dropout does.

    Args:
        images, references: ``(N, C, H, W)`` both, H and W at least ``size``.
        size: side of a patch in pixels.
        count: how many of each image.

    Returns:
        Two of ``(N, count, C, size, size)``.
    """
    height, width = images.shape[-2:]
    tops = torch.randint(height - size + 1, (len(images), count)).tolist()
    lefts = torch.randint(width - size + 1, (len(images), count)).tolist()

    def cut(source: Tensor) -> Tensor:
        return torch.stack(
            [
                torch.stack(
                    [
                        image[:, top : top + size, left : left + size]
                        for top, left in zip(*places, strict=True)
                    ]
                )
                for image, *places in zip(source, tops, lefts, strict=True)
            ]
        )

    return cut(images), cut(references)


def _starts(side: int, size: int) -> list[int]:
    starts = list(range(0, side - size + 1, size))
    return starts if starts[-1] + size == side else [*starts, side - size]
