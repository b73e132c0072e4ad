"""Formats whose encoders want the whole picture: WebP and BMP, by Pillow."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from PIL import Image as PillowImage

from ranksrgan.contracts.image_files import exif
from ranksrgan.contracts.image_files.encoders.layout import Layout, interleaved
from ranksrgan.contracts.image_files.picture import Picture
from ranksrgan.contracts.image_files.resolution import in_block


class CollectedWriter:
    """Keeps the strips as integers and encodes them in the end. Of the metadata BMP has
    place for the resolution alone.

    Args:
        file: at its beginning.
        layout: of the picture.
        suffix: ``".webp"`` or ``".bmp"``.
        quality: of WebP, 1 to 100.
    """

    def __init__(self, file: BinaryIO, layout: Layout, suffix: str, quality: int) -> None:
        self._file, self._layout, self._suffix, self._quality = file, layout, suffix, quality
        self._pixels = np.empty((layout.height, layout.width, layout.samples), np.uint8)
        self._rows = 0

    def write(self, strip: Picture) -> None:
        self._pixels[self._rows : self._rows + strip.height] = interleaved(strip)
        self._rows += strip.height

    def close(self) -> None:
        kind = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[self._layout.samples]
        pixels = self._pixels[..., 0] if kind == "L" else self._pixels
        image = PillowImage.fromarray(pixels)
        if self._suffix == ".bmp":
            resolution = self._layout.metadata.resolution  # Pillow would make one up
            image.save(self._file, "BMP", dpi=resolution.in_bmp() if resolution else (0, 0))
            return
        if kind in ("L", "LA"):
            image = image.convert("RGB" if kind == "L" else "RGBA")
        options: dict[str, bytes] = {}
        layout = self._layout.in_colour()
        if block := self._block():
            options["exif"] = block
        if layout.metadata.icc_profile:
            options["icc_profile"] = layout.metadata.icc_profile
        image.save(self._file, "WEBP", quality=self._quality, **options)

    def _block(self) -> bytes | None:
        """The EXIF block with the resolution, for which WebP has no other place."""
        block, resolution = self._layout.exif, self._layout.metadata.resolution
        fields = resolution.in_exif() if resolution else []
        if not fields or (block and in_block(block) == resolution):
            return block
        return exif.with_fields(block, fields) if block else exif.from_fields(fields)
