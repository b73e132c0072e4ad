"""JPEG in strips that are encoded apart and joined without loss.

A restart marker ends every row of blocks, and after one the entropy coder begins anew (ITU-T T.81,
E.1.4). The markers count from 0 to 7 and around, so that a strip of eight rows of blocks always
begins and ends alike: the scans of such strips, with a marker 7 between them, are the scan of the
whole picture, byte for byte.
"""

from __future__ import annotations

import io
from typing import BinaryIO

from PIL import Image as PillowImage

from ranksrgan.contracts.image_files.encoders.layout import Layout, Regrouped, interleaved
from ranksrgan.contracts.image_files.picture import Picture, Pixels

# Eight rows of blocks, 16 pixels high since the colours have half the resolution, or 8 if grey.
_ROWS = 128

# Unit and densities, in the segment JFIF that a file of grey or these colours begins with.
_DENSITY = slice(13, 18)

_FRAME, _SCAN, _RESTART_7, _END = b"\xff\xc0", b"\xff\xda", b"\xff\xd7", b"\xff\xd9"


class JpegWriter:
    """Baseline JPEG with the standard Huffman tables; colours at half the resolution.

    Args:
        file: at its beginning.
        layout: of the picture.
        quality: 1 to 100.
    """

    def __init__(self, file: BinaryIO, layout: Layout, quality: int) -> None:
        self._file, self._layout, self._quality = file, layout, quality
        self._strips = Regrouped(_ROWS)
        self._begun = False

    def write(self, strip: Picture) -> None:
        for pixels in self._strips.add(interleaved(strip)):
            self._write_strip(pixels)

    def close(self) -> None:
        for pixels in self._strips.rest():
            self._write_strip(pixels)
        self._file.write(_END)

    def _write_strip(self, pixels: Pixels) -> None:
        metadata = self._layout.metadata
        options: dict[str, bytes] = {}
        if not self._begun and self._layout.exif:
            options["exif"] = b"Exif\0\0" + self._layout.exif
        if not self._begun and metadata.icc_profile:
            options["icc_profile"] = metadata.icc_profile
        encoded = io.BytesIO()
        PillowImage.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(
            encoded, "JPEG", quality=self._quality, restart_marker_rows=1, **options
        )
        header, scan = _split(encoded.getvalue(), self._layout.height)
        density = metadata.resolution and metadata.resolution.in_jfif()
        if density:
            header = header[: _DENSITY.start] + density + header[_DENSITY.stop :]
        self._file.write(_RESTART_7 if self._begun else header)
        self._file.write(scan)
        self._begun = True


def _split(jpeg: bytes, height: int) -> tuple[bytes, bytes]:
    """The header of a baseline JPEG, made to say ``height``, and its scan without an end."""
    at = 2
    frame_height = -1
    while jpeg[at : at + 2] != _SCAN:
        if jpeg[at : at + 2] == _FRAME:
            frame_height = at + 5  # after marker, length and precision
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
    at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
    header = jpeg[:frame_height] + height.to_bytes(2) + jpeg[frame_height + 2 : at]
    return header, jpeg[at:].removesuffix(_END)
