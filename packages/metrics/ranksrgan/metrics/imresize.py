"""MATLAB's ``imresize``, bicubic, with antialiasing.

Keys' cubic with a = -1/2 (IEEE Trans. ASSP 29, 1981). When an axis shrinks, the kernel is stretched
by the inverse scale, which is MATLAB's antialiasing; beyond the edge the image continues as its
mirror image, the edge pixel repeated. Each axis is resized on its own, the one with the smaller
scale first and rows before columns on a tie.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput


class _Taps(NamedTuple):
    """One axis of a resize: output k is the sum over t of weights[t, k] * input[indices[t, k]]."""

    indices: npt.NDArray[np.int64]  # (T, out)
    weights: npt.NDArray[np.float64]  # (T, out), each column sums to 1


class _Pass(NamedTuple):
    axis: int  # -2 or -1
    scale: float
    size: int  # of the output along the axis


def imresize(
    images: Tensor, scale: float | None = None, size: tuple[int, int] | None = None
) -> Tensor:
    """Resize as MATLAB does floating-point images: nothing is rounded and nothing clamped.

    Args:
        images: ``(..., H, W)`` float32 or float64, any range; gradients flow through.
        scale: output side over input side; the output has ``ceil(scale * side)`` pixels.
        size: ``(height, width)`` of the output; exactly one of the two is given.

    Returns:
        The resized images in the type of ``images``. Each output pixel is the same sum in the same
        order whatever the batch, so a batch and single calls agree to the bit.

    Raises:
        InvalidInput: another type or shape, or not exactly one of ``scale`` and ``size``.
    """
    if images.dtype not in (torch.float32, torch.float64):
        raise InvalidInput(
            f"images is of type {images.dtype}; float32 or float64 is wanted (imresize_uint8 takes "
            "uint8)",
            field="images",
        )
    for step in _passes(images, scale, size):
        images = _resize_axis(images, step)
    return images


def imresize_uint8(
    images: Tensor, scale: float | None = None, size: tuple[int, int] | None = None
) -> Tensor:
    """Resize as MATLAB does uint8 images: each of the two passes is rounded and saturated.

    Args:
        images: ``(..., H, W)`` uint8.
        scale: as in `imresize`.
        size: as in `imresize`.

    Returns:
        uint8, equal to MATLAB's bytes.

    Raises:
        InvalidInput: as in `imresize`.
    """
    if images.dtype != torch.uint8:
        raise InvalidInput(f"images is of type {images.dtype}; uint8 is wanted", field="images")
    for step in _passes(images, scale, size):
        resized = _resize_axis(images.double(), step)
        images = (resized + 0.5).floor().clamp(0, 255).byte()
    return images


def _passes(
    images: Tensor, scale: float | None, size: tuple[int, int] | None
) -> tuple[_Pass, _Pass]:
    if images.ndim < 2 or images.numel() == 0:
        raise InvalidInput(
            f"images has the shape {tuple(images.shape)}; (..., H, W) with at least one pixel is "
            "wanted",
            field="images",
        )
    height, width = images.shape[-2:]
    if scale is not None and size is None:
        if not (math.isfinite(scale) and scale > 0):
            raise InvalidInput(f"a scale of {scale} is not a positive number", field="scale")
        rows = _Pass(-2, scale, math.ceil(scale * height))
        columns = _Pass(-1, scale, math.ceil(scale * width))
    elif size is not None and scale is None:
        if min(size) < 1:
            raise InvalidInput(f"a size of {size} has no pixels", field="size")
        rows = _Pass(-2, size[0] / height, size[0])
        columns = _Pass(-1, size[1] / width, size[1])
    else:
        raise InvalidInput("give either scale or size", field="scale")
    return (columns, rows) if columns.scale < rows.scale else (rows, columns)


def _resize_axis(images: Tensor, step: _Pass) -> Tensor:
    if step.axis == -1:  # whole rows are gathered much faster than single columns
        rows = _resize_axis(images.transpose(-2, -1).contiguous(), step._replace(axis=-2))
        return rows.transpose(-2, -1).contiguous()
    taps = _taps(images.shape[-2], step.size, step.scale)
    indices = torch.from_numpy(taps.indices).to(images.device)
    weights = torch.from_numpy(taps.weights).to(images)[..., None]
    resized = images.index_select(-2, indices[0]) * weights[0]
    for index, weight in zip(indices[1:], weights[1:], strict=True):
        resized += images.index_select(-2, index) * weight
    return resized


@lru_cache(maxsize=256)
def _taps(length: int, size: int, scale: float) -> _Taps:
    """Where each output pixel reads, and with what weight; positions count from 1 as in MATLAB."""
    stretch = min(scale, 1.0)
    width = 4 / stretch
    centres = np.arange(1, size + 1) / scale + 0.5 * (1 - 1 / scale)
    first = np.floor(centres - width / 2)
    positions = first + np.arange(math.ceil(width) + 2)[:, None]
    weights = stretch * _cubic(stretch * (centres - positions))
    weights /= weights.sum(axis=0)
    used = weights.any(axis=1)
    mirrored = (positions[used].astype(np.int64) - 1) % (2 * length)
    indices = np.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
    return _Taps(indices, weights[used])


def _cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' kernel with a = -1/2, supported on [-2, 2]."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
