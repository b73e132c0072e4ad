"""`imresize` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def imresize(
    images: Tensor,
    row_indices: Tensor,
    row_weights: Tensor,
    column_indices: Tensor,
    column_weights: Tensor,
    columns_first: bool,
) -> Tensor:
    """Resize both axes, one after the other, by given taps.

    Args:
        images: ``(N, H, W)`` uint8, float32 or float64. uint8 is computed in float64, and rounded
            and saturated after each of the two passes.
        row_indices, row_weights: ``(T, rows)`` int64 and float64: each output row is the sum over
            T, in their order, of weighted input rows.
        column_indices, column_weights: ``(T, columns)``, the same for columns.
        columns_first: which axis is first.

    Returns:
        ``(N, rows, columns)`` of the type of ``images``.
    """
    if columns_first:
        images = _resize_columns(images, column_indices, column_weights)
        return _resize_rows(images, row_indices, row_weights)
    images = _resize_rows(images, row_indices, row_weights)
    return _resize_columns(images, column_indices, column_weights)


def _resize_columns(images: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    # Whole rows are gathered much faster than single columns.
    rows = _resize_rows(images.transpose(-2, -1).contiguous(), indices, weights)
    return rows.transpose(-2, -1).contiguous()


def _resize_rows(images: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        exact = _resize_rows(images.double(), indices, weights)
        return (exact + 0.5).floor().clamp(0, 255).byte()
    indices = indices.to(images.device)
    weights = weights.to(images)[..., None]
    resized = images.index_select(-2, indices[0]) * weights[0]
    for index, weight in zip(indices[1:], weights[1:], strict=True):
        resized += images.index_select(-2, index) * weight
    return resized
