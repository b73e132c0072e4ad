"""Images that travel as rows of pixels, top to bottom, and are nowhere whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.images import from_tensor

#: Types that rows of a result can have.
RESULT_DTYPES = (torch.float32, torch.uint8)


@dataclass(frozen=True)
class RowImage:
    """What such an image is, before its first row: ``(height, width, channels)``.

    Attributes:
        height: in pixels.
        width: in pixels.
        channels: 3 (RGB) or 1 (grey).
        dtype: uint8, or floating point in [0, 1].

    Raises:
        InvalidInput: no pixels, or another number of channels; ``field`` is the attribute.
    """

    height: int
    width: int
    channels: int
    dtype: torch.dtype

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            field = "height" if self.height < 1 else "width"
            raise InvalidInput(
                f"rows.{field}: {self.width} x {self.height} pixels are no image",
                field=f"rows.{field}",
            )
        if self.channels not in (1, 3):
            raise InvalidInput(
                f"rows.channels: {self.channels}; 3 (RGB) or 1 (grey) is wanted",
                field="rows.channels",
            )

    @property
    def row_bytes(self) -> int:
        """Of one row."""
        return self.width * self.channels * self.dtype.itemsize

    @property
    def size(self) -> int:
        """Of all rows, in bytes."""
        return self.height * self.row_bytes


def rows_from_bytes(data: bytearray, image: RowImage) -> Tensor:
    """Whole rows as ``(1, channels, n, width)`` of the image's type, which share ``data``."""
    rows = torch.frombuffer(data, dtype=image.dtype).view(-1, image.width, image.channels)
    return rows.permute(2, 0, 1)[None]


def rows_to_bytes(rows: Tensor, dtype: torch.dtype) -> bytes:
    """Rows ``(channels, n, width)`` as they travel.

    Args:
        rows: of ``dtype``; or floating point in [0, 1], which uint8 is rounded from.
        dtype: that the other side expects.
    """
    if dtype == torch.uint8:
        return from_tensor(rows).colour.tobytes()
    flat = rows.detach().to("cpu", dtype).permute(1, 2, 0).contiguous().view(-1)
    return flat.view(torch.uint8).numpy().tobytes()
