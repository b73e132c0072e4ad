"""MATLAB's ``imresize``, bicubic, with antialiasing.

Keys' cubic with a = -1/2 (IEEE Trans. ASSP 29, 1981). When an axis shrinks, the kernel is stretched
by the inverse scale, which is MATLAB's antialiasing; beyond the edge the image continues as its
mirror image, the edge pixel repeated. Each axis is resized on its own, the one with the smaller
scale first and rows before columns on a tie.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.image_tensor import require_tensor
from ranksrgan.metrics import native, reference


class _Taps(NamedTuple):
    """One axis of a resize: output k is the sum over t of weights[t, k] * input[indices[t, k]]."""

    indices: npt.NDArray[np.int64]  # (T, out)
    weights: npt.NDArray[np.float64]  # (T, out), each column sums to 1


class _Axis(NamedTuple):
    length: int
    size: int  # of the output
    scale: float


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
    require_tensor(images)
    _require_float(images)
    return _resize(images, scale, size)


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
    require_tensor(images)
    if images.dtype != torch.uint8:
        raise InvalidInput(f"images is of type {images.dtype}; uint8 is wanted", field="images")
    return _resize(images, scale, size)


def rows_under(height: int, scale: float, rows: tuple[int, int]) -> tuple[int, int]:
    """The rows that some rows of a resized image depend on.

    Args:
        height: of the image.
        scale: as in `imresize`.
        rows: of the resized image, from the first on and up to the second, which is none of them.

    Returns:
        Rows of the image, likewise.
    """
    indices = _taps_of(height, scale, rows).indices
    return int(indices.min()), int(indices.max()) + 1


def imresize_rows(
    images: Tensor, scale: float, height: int, first: int, rows: tuple[int, int]
) -> Tensor:
    """Some rows of what `imresize` makes of an image, to the bit.

    Args:
        images: ``(..., n, W)`` float32 or float64: the image's rows from ``first`` on, at least
            those of `rows_under`.
        scale: as in `imresize`.
        height: of the image.
        first: row of the image.
        rows: of the resized image, as in `rows_under`.

    Raises:
        InvalidInput: as in `imresize`; or rows are missing.
    """
    require_tensor(images)
    _require_float(images)
    _, columns = _axes(images, scale, None)
    top, end = rows_under(height, scale, rows)
    if top < first or end > first + images.shape[-2]:
        raise InvalidInput(
            f"rows {top} to {end} are needed; there are {first} to {first + images.shape[-2]}",
            field="images",
        )
    indices, weights = _taps_of(height, scale, rows)
    part = _Taps(indices - first, weights)
    return _resized(images, part, _taps(*columns), columns_first=False)


def _taps_of(height: int, scale: float, rows: tuple[int, int]) -> _Taps:
    """Those of some rows of the resized image."""
    indices, weights = _taps(height, math.ceil(scale * height), scale)
    return _Taps(indices[:, slice(*rows)], weights[:, slice(*rows)])


def _require_float(images: Tensor) -> None:
    if images.dtype not in (torch.float32, torch.float64):
        raise InvalidInput(
            f"images is of type {images.dtype}; float32 or float64 is wanted (imresize_uint8 takes "
            "uint8)",
            field="images",
        )


def _resize(images: Tensor, scale: float | None, size: tuple[int, int] | None) -> Tensor:
    rows, columns = _axes(images, scale, size)
    return _resized(images, _taps(*rows), _taps(*columns), columns_first=columns.scale < rows.scale)


def _resized(images: Tensor, rows: _Taps, columns: _Taps, *, columns_first: bool) -> Tensor:
    taps = [torch.from_numpy(np.ascontiguousarray(part)) for part in (*rows, *columns)]
    operator = native.operator("imresize", twin=reference.imresize, register=_register)
    planes = images.reshape(-1, *images.shape[-2:])
    resized: Tensor = operator(planes, *taps, columns_first)
    return resized.reshape(*images.shape[:-2], *resized.shape[-2:])


def _axes(images: Tensor, scale: float | None, size: tuple[int, int] | None) -> tuple[_Axis, _Axis]:
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
        rows = _Axis(height, math.ceil(scale * height), scale)
        columns = _Axis(width, math.ceil(scale * width), scale)
    elif size is not None and scale is None:
        if min(size) < 1:
            raise InvalidInput(f"a size of {size} has no pixels", field="size")
        rows = _Axis(height, size[0], size[0] / height)
        columns = _Axis(width, size[1], size[1] / width)
    else:
        raise InvalidInput("give either scale or size", field="scale")
    return rows, columns


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


def _register(name: str) -> None:
    """Tell torch the shape and the gradient of the compiled operator ``name``."""
    # A device for which nothing was compiled.
    torch.library.register_kernel(name, None, reference.imresize)
    torch.library.register_fake(name, _fake)
    torch.library.register_autograd(name, _backward, setup_context=_save)


def _fake(
    images: Tensor,
    row_indices: Tensor,
    row_weights: Tensor,
    column_indices: Tensor,
    column_weights: Tensor,
    columns_first: bool,
) -> Tensor:
    return images.new_empty((images.shape[0], row_indices.shape[1], column_indices.shape[1]))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    images, *taps, ctx.columns_first = inputs
    ctx.shape = images.shape
    ctx.save_for_backward(*taps)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # The map is linear, so that where it is differentiated does not matter.
        anywhere = gradient.new_zeros(ctx.shape, requires_grad=True)
        rows, row_weights, columns, column_weights = ctx.saved_tensors
        resized = reference.imresize(
            anywhere, rows, row_weights, columns, column_weights, ctx.columns_first
        )
        (found,) = torch.autograd.grad(resized, anywhere, gradient, create_graph=again)
    return found, None, None, None, None, None
