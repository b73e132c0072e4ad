"""Random views of images: a window at a random place, mirrored and turned at random.

What a network thinks of an image should not hang on where its strides fall. A score whose gradient
trains a generator is otherwise raised by patterns that fit one position of the grid of strides and
none else: nothing that a metric or a person would see.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput


def random_views(
    images: Tensor, jitter: int, random: torch.Generator, group: Tensor | None = None
) -> Tensor:
    """Each image through a window of its own, in one of the eight orientations of a square.

    Args:
        images: ``(N, C, H, W)``.
        jitter: how many pixels the window is smaller than the image; it lies anywhere. 0 returns
            the images as they are.
        random: decides; five numbers a view are drawn from it.
        group: ``(N,)`` int64 from 0 on: images of one number share their view. None: no two do.

    Returns:
        ``(N, C, H - jitter, W - jitter)``, differentiable. Images that are not square are mirrored,
        but not transposed.

    Raises:
        InvalidInput: ``jitter`` is negative or leaves no pixel.
    """
    if jitter == 0:
        return images
    height, width = (side - jitter for side in images.shape[-2:])
    if jitter < 0 or min(height, width) < 1:
        raise InvalidInput(
            f"a jitter of {jitter} pixels for images of {images.shape[-1]} x {images.shape[-2]}: "
            "0 or more, and less than the shorter side, is wanted",
            field="jitter",
        )
    group = torch.arange(len(images), device="cpu") if group is None else group.cpu()
    count = int(group.max()) + 1
    places = torch.randint(jitter + 1, (count, 2), generator=random, device="cpu")[group].tolist()
    tosses = torch.randint(2, (count, 3), generator=random, device="cpu")[group].tolist()
    views = []
    for image, (top, left), (turn, mirror, transpose) in zip(images, places, tosses, strict=True):
        view = image[:, top : top + height, left : left + width]
        axes = [axis for axis, wanted in ((1, turn), (2, mirror)) if wanted]
        view = view.flip(axes) if axes else view
        views.append(view.transpose(1, 2) if transpose and height == width else view)
    return torch.stack(views)
