"""EXIF blocks as cameras write them."""

from __future__ import annotations

import struct

from PIL import Image

from ranksrgan.contracts.image_files import exif
from ranksrgan.contracts.image_files.exif import LONG, SHORT, UNDEFINED, Field

MAKE, ORIENTATION = 271, 274
EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
PIXEL_WIDTH, PIXEL_HEIGHT, MAKER_NOTE = 40962, 40963, 37500


def camera_block(order: str = "<", orientation: int = 6, wide: bool = False) -> bytes:
    """As a camera writes it: directories, a maker note, a size, and a linked thumbnail."""
    mark = {"<": b"II", ">": b"MM"}[order]
    size = (LONG, "I") if wide else (SHORT, "H")
    inner = (
        Field(33434, 5, struct.pack(f"{order}II", 1, 250)),
        Field(MAKER_NOTE, UNDEFINED, bytes(range(256))),
        Field(PIXEL_WIDTH, size[0], struct.pack(f"{order}{size[1]}", 12)),
        Field(PIXEL_HEIGHT, size[0], struct.pack(f"{order}{size[1]}", 8)),
        Field(INTEROPERABILITY, LONG, b"", (Field(1, 2, b"R98\0"),)),
    )
    fields = [
        Field(MAKE, 2, b"K\xf6nig Kamerawerke\0"),
        Field(ORIENTATION, SHORT, struct.pack(f"{order}H", orientation)),
        Field(EXIF, LONG, b"", inner),
        Field(GPS, LONG, b"", (Field(29, 2, b"2026:01:02\0"),)),
    ]
    block = bytearray(struct.pack(f"{order}2sHI", mark, 42, 8))
    block += exif.to_bytes(fields, order, at=8)
    thumbnail = len(block)
    struct.pack_into(f"{order}I", block, 8 + 2 + 12 * len(fields), thumbnail)
    return bytes(block) + exif.to_bytes([Field(259, SHORT, struct.pack(f"{order}H", 6))], order, 0)


def read_by_pillow(block: bytes) -> Image.Exif:
    read = Image.Exif()
    read.load(b"Exif\0\0" + block)
    return read
