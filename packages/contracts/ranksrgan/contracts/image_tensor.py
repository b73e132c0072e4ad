"""What scorers and upscalers ask of everything that is given to them as images."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooLarge, InvalidInput

#: A network overshoots [0, 1], in training as elsewhere, and a loss has to see it; pixels that
#: count to 255 are a mistake. Beyond this limit it is the mistake.
LIMIT = 16.0


def require_tensor(images: object, field: str = "images", *, single: bool = False) -> None:
    """Raise `InvalidInput` unless ``images`` are a tensor.

    Arrays are not taken silently for one: they mostly hold 0..255, with the channels last. Nor is
    the name of a file, which is a sequence, and so is a list of images.

    Args:
        images: what was given.
        field: its name, for the message.
        single: whether one image without a batch is wanted, as in a list of images.

    Raises:
        InvalidInput: says what it is and how a tensor is made.
    """
    if isinstance(images, Tensor):
        return
    shape, index = ("(C, H, W)", "[0]") if single else ("(N, C, H, W)", "")
    if isinstance(images, (str, os.PathLike)):
        made = f"of a file contracts.images.to_tensor(read_image(path)){index}"
    else:
        index = "" if single else "[None]"
        made = f"of an array (H, W, C) of uint8 torch.from_numpy(array).permute(2, 0, 1){index}"
    raise InvalidInput(
        f"{field} is a {class_name(images)}; a torch.Tensor {shape} is wanted, {made}",
        field=field,
    )


def far_outside(pixels: Tensor) -> tuple[float, float] | None:
    """The extremes of floating-point pixels if one of them is NaN or beyond `LIMIT`; else None."""
    low, high = (float(extreme) for extreme in pixels.detach().aminmax())
    return None if -LIMIT <= low <= high <= LIMIT else (low, high)  # false for NaN as well


def graphs_kept(*given: Tensor) -> int:
    """Of how many images the computation of scores is kept for a gradient.

    A score keeps that of its whole batch until it is differentiated, however it has gone through
    the network.

    Args:
        given: batches ``(N, C, H, W)``; those count that want a gradient where there can be one.
    """
    return sum(len(batch) for batch in given if batch.requires_grad and torch.is_grad_enabled())


def check_graphs(images: Tensor, kept: int, most: int, who: str) -> None:
    """Refuse images of which a gradient would take more memory than it may.

    Args:
        images: ``(N, C, H, W)``.
        kept: of how many of them the computation is kept at a time, see `graphs_kept`.
        most: pixels of those together.
        who: computes, for the message.

    Raises:
        ImageTooLarge: says how many images, or pixels, there may be.
    """
    height, width = images.shape[2:]
    pixels = height * width
    if kept * pixels <= most:
        return
    if pixels > most:
        said = f"an image is {width} x {height} pixels; {who} has the gradient of at most {most}"
    else:
        said = (
            f"{kept} images of {width} x {height} pixels want a gradient together; {who} has that "
            f"of at most {most} pixels: give {most // pixels} at a time"
        )
    raise ImageTooLarge(said, field="images")


def class_name(value: object) -> str:
    """Of what a value is, with its module, for messages."""
    return f"{type(value).__module__}.{type(value).__qualname__}"
