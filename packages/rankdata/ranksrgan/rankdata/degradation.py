"""From a high-resolution image to the low-resolution image that the levels start from.

As the field makes its test sets: crop to a multiple of the scale, MATLAB's antialiased bicubic in
double precision, and one rounding to the 8 bits of an image file.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall
from ranksrgan.contracts.images import read_image, to_tensor
from ranksrgan.metrics import imresize


class Source(NamedTuple):
    """A source image with its degraded version.

    Attributes:
        name: stem of the file.
        hr: ``(1, 3, H, W)`` uint8, both sides multiples of the scale.
        lr: ``(1, 3, H / scale, W / scale)`` float32 in [0, 1].
        size: height and width of the file, before cropping.
    """

    name: str
    hr: Tensor
    lr: Tensor
    size: tuple[int, int]


def read_rgb(path: Path) -> Tensor:
    """``(1, 3, H, W)`` uint8: grey repeated, 16 bits rounded to 8, alpha left out.

    Raises:
        InvalidImage, ImageTooLarge: see `read_image`.
    """
    pixels = to_tensor(read_image(path))
    if pixels.dtype != torch.uint8:
        pixels = round_to_8_bits(pixels)
    return pixels.expand(-1, 3, -1, -1).contiguous()


def read_source(path: Path, scale: int, *, round_lr: bool = True) -> Source:
    """Read a high-resolution image, crop it to a multiple of ``scale`` and degrade it.

    Raises:
        ImageTooSmall: a side is shorter than ``scale``.
        InvalidImage, ImageTooLarge: see `read_image`.
    """
    whole = read_rgb(path)
    height, width = whole.shape[-2:]
    if min(height, width) < scale:
        raise ImageTooSmall(
            f"{path} is {width} x {height} pixels; a scale of {scale} needs as many a side",
            field=str(path),
        )
    hr = crop_to_multiple(whole, scale)
    return Source(path.stem, hr, degrade(hr, scale, round_lr=round_lr), (height, width))


def crop_to_multiple(images: Tensor, scale: int) -> Tensor:
    """Cut rows and columns off at the bottom and right until both sides divide by ``scale``."""
    height, width = images.shape[-2:]
    return images[..., : height - height % scale, : width - width % scale]


def degrade(hr: Tensor, scale: int, *, round_lr: bool = True) -> Tensor:
    """MATLAB's ``imresize(im2double(hr), 1 / scale)``, then ``im2uint8`` unless told otherwise.

    Args:
        hr: ``(N, 3, H, W)`` uint8, sides multiples of ``scale``.
        scale: HR side over LR side.
        round_lr: round to 8 bits; otherwise only clamp.

    Returns:
        ``(N, 3, H / scale, W / scale)`` float32 in [0, 1].
    """
    lr = imresize(hr.double() / 255, scale=1 / scale)
    return round_to_8_bits(lr).float() / 255 if round_lr else lr.clamp(0, 1).float()


def round_to_8_bits(images: Tensor) -> Tensor:
    """uint8 from floating point in [0, 1], clamped, halves rounded up as MATLAB does."""
    return (images.double() * 255 + 0.5).floor().clamp(0, 255).to(torch.uint8)
