"""Luma planes: what every metric here is computed on.

Two conventions:

``y``
    MATLAB ``rgb2ycbcr``, used by PIRM2018 and by nearly all tables of super-resolution; 16 (black)
    to 235 (white).
``gray``
    MATLAB ``rgb2gray``, used by the NIQE software release; 0 to 255.

An image of one channel is its own luma in both. MATLAB's functions round the luma of a uint8 image
to uint8, and NIQE, the RMSE of PIRM2018 and Wang's SSIM on ``gray`` are defined on that. The PSNR-Y
and SSIM-Y of super-resolution tables are taken from the unrounded ``y``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.contracts.image_tensor import require_tensor

Convention = Literal["y", "gray"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)

# Rows of MATLAB's matrix for 8-bit images, scaled as there.
_Y = tuple(weight * (1 / 255) for weight in (65.481, 128.553, 24.966))
# Row 0 of the inverse of the YIQ matrix [1 .956 .621; 1 -.272 -.647; 1 -1.106 1.703]. The familiar
# 0.299, 0.587, 0.114 are its rounded form and flip a pixel in some hundreds.
_GRAY = (0.298936021293776, 0.587043074451121, 0.114020904255103)


def check_images(images: Tensor, field: str = "images") -> None:
    """Check what every metric takes: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.

    Raises:
        InvalidInput: another shape, type or range, or a value that is not finite.
    """
    check_layout(images, field)
    if images.dtype == torch.uint8:
        return
    low, high = (float(bound) for bound in images.detach().aminmax())
    if not low >= 0 or not high <= 1:  # also when they are NaN
        raise InvalidInput(
            f"{field} holds values from {low:g} to {high:g}; floating-point images are in [0, 1] "
            "(clamp, or divide by 255)",
            field=field,
        )


def check_layout(images: Tensor, field: str = "images") -> None:
    """Raise `InvalidInput` unless ``images`` is a tensor ``(N, 3|1, H, W)``, floating or uint8."""
    require_tensor(images, field)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.numel() == 0:
        raise InvalidInput(
            f"{field} has the shape {tuple(images.shape)}; (N, 3, H, W) or (N, 1, H, W) with at "
            "least one pixel is wanted",
            field=field,
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise InvalidInput(
            f"{field} is of type {images.dtype}; uint8 or floating point in [0, 1] is wanted",
            field=field,
        )


def luma(images: Tensor, convention: Convention = "y", rounded: bool = True) -> Tensor:
    """Luma of each image.

    Floating-point images are first rounded to 8 bits, half upwards, as the published software only
    ever saw such. ``y`` is ``16 + (65.481 R + 128.553 G + 24.966 B) / 255``. For 194 colours that
    is a whole number and a half, and the rounding errors of the sum decide; it is evaluated in
    float64 from blue to red, the order that agrees with the reference scores of NIQE.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.
        convention: ``"y"`` or ``"gray"``.
        rounded: to whole grey levels, half upwards.

    Returns:
        ``(N, H, W)`` float64 in 0..255 on the device of ``images``.

    Raises:
        InvalidInput: see `check_images`, or no such convention.
    """
    check_convention(convention)
    check_images(images)
    return _luma(images, convention, rounded)


def shave(planes: Tensor, border: int) -> Tensor:
    """``(..., H, W)`` without ``border`` pixels on every side.

    Raises:
        InvalidInput: ``border`` is negative or not a whole number.
        ImageTooSmall: nothing would be left.
    """
    check_border(border)
    height, width = planes.shape[-2:]
    if min(height, width) <= 2 * border:
        raise ImageTooSmall(
            f"an image of {height} x {width} has nothing left without a border of {border}",
            field="border",
        )
    return planes[..., border : height - border, border : width - border]


def luma_planes(
    images: Tensor,
    border: int,
    convention: Convention,
    rounded: bool = True,
    field: str = "images",
) -> Iterator[Tensor]:
    """The shaved luma of one image after the other, ``(H, W)`` float64: memory for one at a time.

    Raises:
        InvalidInput, ImageTooSmall: as in `luma` and `shave`, on the first step.
    """
    check_convention(convention)
    check_images(images, field)
    for image in images.detach():
        cancellation.check()
        yield shave(_luma(image[None], convention, rounded)[0], border)


def check_convention(convention: str) -> None:
    """Raise `InvalidInput` unless ``convention`` is one of `CONVENTIONS`."""
    if convention not in CONVENTIONS:
        raise InvalidInput(
            f"there is no luma {convention!r}: it is one of {', '.join(CONVENTIONS)}", field="luma"
        )


def check_border(border: int) -> None:
    """Raise `InvalidInput` unless ``border`` is a whole number of pixels."""
    if not isinstance(border, int) or border < 0:
        raise InvalidInput(
            f"a border of {border!r} is not a whole number of pixels, 0 or more", field="border"
        )


def canonical_name(metric: str, border: int, convention: Convention) -> str:
    """A metric's name with its options, defaults left out: ``niqe?border=4&luma=gray``."""
    options = []
    if border != 0:
        options.append(f"border={border}")
    if convention != "y":
        options.append(f"luma={convention}")
    return f"{metric}?{'&'.join(options)}" if options else metric


def _luma(images: Tensor, convention: Convention, rounded: bool) -> Tensor:
    pixels = images if images.dtype == torch.uint8 else _round(images.double() * 255)
    if images.shape[1] == 1:
        return pixels[:, 0].double()
    red, green, blue = pixels.double().unbind(1)
    if convention == "gray":
        plane = _GRAY[0] * red + _GRAY[1] * green + _GRAY[2] * blue
    else:
        plane = _Y[2] * blue + _Y[1] * green + _Y[0] * red + 16
    return _round(plane) if rounded else plane


def _round(values: Tensor) -> Tensor:
    """MATLAB's rounding of what is not negative: half upwards."""
    return (values + 0.5).floor()
