"""TIFF in deflated strips, and BigTIFF where 4 GiB may not be enough.

TIFF 6.0 with Adobe's deflate, little-endian; the directory is written last, when the lengths of
all strips are known.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from ranksrgan.contracts.image_files import exif
from ranksrgan.contracts.image_files.encoders.layout import Layout, Regrouped, interleaved
from ranksrgan.contracts.image_files.exif import LONG, LONG8, SHORT, UNDEFINED, Field
from ranksrgan.contracts.image_files.picture import Picture, Pixels
from ranksrgan.contracts.image_files.resolution import FIELDS, in_block

# Offsets of the classic form have 32 bits; deflate may add a little to what it cannot compress.
_CLASSIC_LIMIT = 2**32 - 2**26

_STRIP_BYTES = 2**20
_LEVEL = 1
_DEFLATE, _DIFFERENCES_TO_THE_LEFT, _NOT_PREMULTIPLIED = 8, 2, 2
_MIN_IS_BLACK, _RGB = 1, 2


class TiffWriter:
    """Writes strips of about 1 MiB, each compressed on its own.

    Args:
        file: at its beginning; must be seekable.
        layout: of the picture.
        classic_limit: bytes of pixels from which BigTIFF is written.
    """

    def __init__(
        self, file: BinaryIO, layout: Layout, *, classic_limit: int = _CLASSIC_LIMIT
    ) -> None:
        if layout.channels == 1 and layout.alpha and layout.depth > 255:
            # OpenCV loses the alpha of such a file, and Pillow does not read it.
            layout = layout.in_colour()
        self._file, self._layout = file, layout
        row_bytes = layout.width * layout.samples * (1 if layout.depth == 255 else 2)
        self._rows = min(max(_STRIP_BYTES // row_bytes, 1), layout.height)
        self._strips = Regrouped(self._rows)
        self._big = row_bytes * layout.height >= classic_limit
        self._at: list[int] = []
        self._lengths: list[int] = []
        file.write(self._header(directory=0))

    def write(self, strip: Picture) -> None:
        if strip.colour.shape[2] < self._layout.channels:
            strip = replace(strip, colour=strip.colour.repeat(3, axis=2))
        for pixels in self._strips.add(interleaved(strip)):
            self._write_strip(pixels)

    def close(self) -> None:
        for pixels in self._strips.rest():
            self._write_strip(pixels)
        directory = self._file.tell()
        pad = -directory % 8
        self._file.write(bytes(pad))
        directory += pad
        self._file.write(exif.to_bytes(self._fields(), "<", directory, big=self._big))
        self._file.seek(0)
        self._file.write(self._header(directory))
        self._file.seek(0, 2)

    def _header(self, directory: int) -> bytes:
        if self._big:
            return struct.pack("<2sHHHQ", b"II", 43, 8, 0, directory)
        return struct.pack("<2sHI", b"II", 42, directory)

    def _write_strip(self, pixels: Pixels) -> None:
        differences = np.empty(pixels.shape, pixels.dtype.newbyteorder("<"))
        differences[:, 0] = pixels[:, 0]
        np.subtract(pixels[:, 1:], pixels[:, :-1], out=differences[:, 1:])
        compressed = zlib.compress(differences.tobytes(), _LEVEL)
        self._at.append(self._file.tell())
        self._lengths.append(len(compressed))
        self._file.write(compressed)

    def _fields(self) -> list[Field]:
        layout = self._layout
        bits = 8 if layout.depth == 255 else 16
        offsets = LONG8 if self._big else LONG
        fields = [
            _field(256, LONG, layout.width),
            _field(257, LONG, layout.height),
            _field(258, SHORT, *[bits] * layout.samples),
            _field(259, SHORT, _DEFLATE),
            _field(262, SHORT, _MIN_IS_BLACK if layout.channels == 1 else _RGB),
            _field(273, offsets, *self._at),
            _field(277, SHORT, layout.samples),
            _field(278, LONG, self._rows),
            _field(279, offsets, *self._lengths),
            _field(317, SHORT, _DIFFERENCES_TO_THE_LEFT),
        ]
        if layout.alpha:
            fields.append(_field(338, SHORT, _NOT_PREMULTIPLIED))
        if layout.metadata.icc_profile:
            fields.append(Field(34675, UNDEFINED, layout.metadata.icc_profile))
        return fields + self._describing()

    def _describing(self) -> list[Field]:
        """The fields of EXIF, with the resolution that the picture's file had in its own place."""
        block = self._layout.exif or b""
        fields, resolution = exif.describing(block), self._layout.metadata.resolution
        if resolution is None or resolution == in_block(block):
            return fields
        return [field for field in fields if field.tag not in FIELDS] + resolution.in_exif()


def _field(tag: int, kind: int, *numbers: int) -> Field:
    letter = {SHORT: "H", LONG: "I", LONG8: "Q"}[kind]
    return Field(tag, kind, struct.pack(f"<{len(numbers)}{letter}", *numbers))
