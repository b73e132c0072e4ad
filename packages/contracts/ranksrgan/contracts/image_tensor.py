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


def wants_gradient(*given: Tensor) -> bool:
    """Whether a score of these batches is to carry a gradient to one of them."""
    return torch.is_grad_enabled() and any(batch.requires_grad for batch in given)


def check_gradient_size(images: Tensor, most: int, who: str) -> None:
    """Refuse images of which a gradient would take more memory than it may.

    A score that carries a gradient keeps what that takes for its whole batch; how many images there
    is room for, on which device, is for the training to know that has put them together.

    Args:
        images: ``(N, C, H, W)``.
        most: pixels of one.
        who: computes, for the message.

    Raises:
        ImageTooLarge: an image has more.
    """
    height, width = images.shape[2:]
    if height * width > most:
        raise ImageTooLarge(
            f"an image is {width} x {height} pixels; {who} has the gradient of at most {most}",
            field="images",
        )


def class_name(value: object) -> str:
    """Of what a value is, with its module, for messages."""
    return f"{type(value).__module__}.{type(value).__qualname__}"
