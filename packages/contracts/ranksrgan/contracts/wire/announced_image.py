"""An image that comes in chunks, before its first byte."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ranksrgan.contracts.images import decode_image, to_tensor


@dataclass(frozen=True)
class AnnouncedImage:
    """What will come.

    Attributes:
        size: bytes.
        dtype: of a tensor; None for the content of a file.
        shape: of a tensor, ``(3|1, H, W)``; empty for a file.
    """

    size: int
    dtype: torch.dtype | None = None
    shape: tuple[int, ...] = ()

    def decode(self, content: bytes, name: str, max_pixels: int) -> Tensor:
        """The image as ``(3|1, H, W)``: uint8 from an 8-bit file, floating point from a deeper one.

        Args:
            content: all ``size`` bytes.
            name: what error messages call it.
            max_pixels: of a file.

        Raises:
            InvalidImage, ImageTooLarge: see `decode_image`.
        """
        if self.dtype is None:
            return to_tensor(decode_image(content, name=name, max_pixels=max_pixels))[0]
        return torch.frombuffer(bytearray(content), dtype=self.dtype).reshape(self.shape)
