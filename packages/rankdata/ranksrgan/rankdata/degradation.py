"""From a high-resolution image to the low-resolution image that the levels start from.

As the field makes its data: crop to a multiple of the scale, then MATLAB's antialiased bicubic on
8-bit pixels. A generator's training makes its LR crops by the same rule.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall
from ranksrgan.contracts.images import read_image, to_tensor
from ranksrgan.metrics import imresize_uint8


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


def read_source(path: Path, scale: int) -> Source:
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
    return Source(path.stem, hr, degrade(hr, scale), (height, width))


def crop_to_multiple(images: Tensor, scale: int) -> Tensor:
    """Cut rows and columns off at the bottom and right until both sides divide by ``scale``."""
    height, width = images.shape[-2:]
    return images[..., : height - height % scale, : width - width % scale]


def degrade(hr: Tensor, scale: int) -> Tensor:
    """MATLAB's ``imresize(hr, 1 / scale)`` of 8-bit pixels: what the field's LR files hold.

    Args:
        hr: ``(N, 3, H, W)`` uint8, sides multiples of ``scale``.
        scale: HR side over LR side.

    Returns:
        ``(N, 3, H / scale, W / scale)`` float32 in [0, 1], on the 256 levels of 8 bits.
    """
    return imresize_uint8(hr, scale=1 / scale).float() / 255


def round_to_8_bits(images: Tensor) -> Tensor:
    """uint8 from floating point in [0, 1], clamped, halves rounded up as MATLAB does."""
    return round_to_uint8(images.double() * 255)


def round_to_uint8(images: Tensor) -> Tensor:
    """uint8 from float64 on 0..255, clamped, halves rounded up."""
    return (images + 0.5).floor().clamp(0, 255).to(torch.uint8)
