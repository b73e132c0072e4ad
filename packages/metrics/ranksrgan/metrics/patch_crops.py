"""All crops of an image at a given size and stride, and how sharp each of them is.

The crops are the candidates of a rank dataset; the sharpness separates texture from flat areas.
It follows the patch selection of NIQE (A. Mittal et al., IEEE Signal Processing Letters 20(3),
2013, section II-B): the mean local deviation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics import native, reference


class PatchCrops(NamedTuple):
    """P crops of each of N images, row by row.

    Attributes:
        crops: ``(N, P, C, size, size)`` of the type of the images.
        sharpness: ``(N, P)`` float64 on the 0..255 scale.
        boxes: ``(P, 2)`` int64, top and left of each crop.
    """

    crops: Tensor
    sharpness: Tensor
    boxes: Tensor


def patch_crops(images: Tensor, size: int, stride: int) -> PatchCrops:
    """Cut ``images`` at 0, stride, 2 stride, ... wherever a whole crop fits.

    The sharpness of a crop is the mean of the local deviation that `mscn` defines, over the
    crop's grey plane (MATLAB's rgb2gray, unrounded; a single channel as it is) on the 0..255
    scale, as if the crop were the whole image: its own border pixels are repeated outwards.

    Args:
        images: ``(N, 3|1, H, W)``, uint8, or float32 or float64 in [0, 1]. Gradients flow to it
            from the crops and from the sharpness.
        size: side of a crop in pixels, at least 1.
        stride: step between crops in pixels, at least 1.

    Raises:
        InvalidInput: another type or shape, or a size or stride below 1.
        ImageTooSmall: no crop fits.
    """
    if images.dtype not in (torch.uint8, torch.float32, torch.float64):
        raise InvalidInput(
            f"images: uint8, float32 or float64 wanted, got {images.dtype}", field="images"
        )
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise InvalidInput(
            f"images: shape (N, 3 or 1, H, W) wanted, got {tuple(images.shape)}", field="images"
        )
    for name, value in (("size", size), ("stride", stride)):
        if value < 1:
            raise InvalidInput(f"{name}: at least 1 wanted, got {value}", field=name)
    height, width = images.shape[2:]
    if size > min(height, width):
        raise ImageTooSmall(
            f"images: at least {size} x {size} pixels wanted for one crop, got {height} x {width}",
            field="images",
        )
    operator = native.operator("patch_crops", twin=reference.patch_crops, register=_register)
    crops, sharpness = operator(images, size, stride)
    tops = torch.arange(0, height - size + 1, stride, device=images.device)
    lefts = torch.arange(0, width - size + 1, stride, device=images.device)
    return PatchCrops(crops, sharpness, torch.cartesian_prod(tops, lefts))


def _register(name: str) -> None:
    """Tell torch the shapes and the gradient of the compiled operator ``name``."""
    # A device for which nothing was compiled.
    torch.library.register_kernel(name, None, reference.patch_crops)
    torch.library.register_fake(name, _fake)
    torch.library.register_autograd(name, _backward, setup_context=_save)


def _fake(images: Tensor, size: int, stride: int) -> tuple[Tensor, Tensor]:
    batch, channels, height, width = images.shape
    positions = ((height - size) // stride + 1) * ((width - size) // stride + 1)
    crops = images.new_empty((batch, positions, channels, size, size))
    return crops, images.new_empty((batch, positions), dtype=torch.float64)


def _save(ctx: Any, inputs: tuple[Tensor, int, int], output: tuple[Tensor, Tensor]) -> None:
    images, ctx.size, ctx.stride = inputs
    ctx.save_for_backward(images)
    ctx.set_materialize_grads(False)


def _backward(
    ctx: Any, of_crops: Tensor | None, of_sharpness: Tensor | None
) -> tuple[Tensor | None, None, None]:
    (images,) = ctx.saved_tensors
    again = torch.is_grad_enabled()
    outputs: list[Tensor] = []
    gradients: list[Tensor] = []
    with torch.enable_grad():
        cut = reference.crops(images, ctx.size, ctx.stride)
        if of_crops is not None:
            outputs.append(cut)
            gradients.append(of_crops)
        if of_sharpness is not None:
            outputs.append(reference.sharpness(cut))
            gradients.append(of_sharpness)
        if not outputs:
            return None, None, None
        (gradient,) = torch.autograd.grad(outputs, images, gradients, create_graph=again)
    return gradient, None, None
