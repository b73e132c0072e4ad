"""PNG, row by row (W3C Portable Network Graphics, third edition)."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np

from ranksrgan.contracts.image_files.encoders.layout import Layout, interleaved
from ranksrgan.contracts.image_files.picture import Picture

#: Bytes of an ICC profile; a longer one is not read again (see `images`).
LONGEST_PROFILE = 4 * 2**20

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # grey, grey and alpha, RGB, RGBA by samples

# The difference to the row above. With it deflate's fastest level makes files a tenth smaller than
# the difference to the left, in the same time.
_UP = 2
_LEVEL = 1


class PngWriter:
    """Every row is filtered with the row above, and one deflate stream runs through all.

    Args:
        file: at its beginning.
        layout: of the picture.
    """

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file = file
        bits = 8 if layout.depth == 255 else 16
        self._above = np.zeros(layout.width * layout.samples * bits // 8, np.uint8)
        self._stream = zlib.compressobj(_LEVEL)
        file.write(_SIGNATURE)
        kind = _COLOUR_TYPES[layout.samples]
        self._chunk(
            b"IHDR", struct.pack(">IIBBBBB", layout.width, layout.height, bits, kind, 0, 0, 0)
        )
        if layout.metadata.icc_profile:
            profile = zlib.compress(layout.metadata.icc_profile)
            self._chunk(b"iCCP", b"ICC profile\0\0" + profile)
        resolution = layout.metadata.resolution
        density = resolution and resolution.in_png()
        if density:
            self._chunk(b"pHYs", density)
        if layout.exif:
            self._chunk(b"eXIf", layout.exif)

    def write(self, strip: Picture) -> None:
        pixels = interleaved(strip)
        stored = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
        rows = stored.reshape(len(stored), -1).view(np.uint8)
        filtered = np.empty((rows.shape[0], 1 + rows.shape[1]), np.uint8)
        filtered[:, 0] = _UP
        np.subtract(rows[0], self._above, out=filtered[0, 1:])
        np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
        self._above = rows[-1].copy()
        self._data(self._stream.compress(filtered.tobytes()))

    def close(self) -> None:
        self._data(self._stream.flush())
        self._chunk(b"IEND", b"")

    def _data(self, compressed: bytes) -> None:
        if compressed:
            self._chunk(b"IDAT", compressed)

    def _chunk(self, kind: bytes, data: bytes) -> None:
        check = zlib.crc32(data, zlib.crc32(kind))
        self._file.write(struct.pack(">I", len(data)) + kind)
        self._file.write(data)
        self._file.write(struct.pack(">I", check))
