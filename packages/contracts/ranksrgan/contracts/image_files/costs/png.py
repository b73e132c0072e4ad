"""What a PNG would cost to read: its chunks, profiles, and compressed data beyond its pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from ranksrgan.contracts.image_files.costs.refusal import refused

_MAX_CHUNKS = 5000
_MAX_PROFILES = 10  # a PNG has one, and each is unpacked
# Bytes of compressed pixels, which deflate makes a thousandfold, from which they are unpacked to
# see how many there are, and bytes beyond them that nobody minds.
_MANY_COMPRESSED, _SPARE = 2**20, 2**20


def check_png(data: bytes, name: str) -> None:
    profiles = 0
    for number, (kind, _) in enumerate(_chunks(data), 1):
        profiles += kind == b"iCCP"
        if number > _MAX_CHUNKS + len(data) // 1024:
            raise refused(name, f"has over {_MAX_CHUNKS} chunks")
        if profiles > _MAX_PROFILES:
            raise refused(name, f"has over {_MAX_PROFILES} ICC profiles")


def check_unpacked(data: bytes, name: str) -> None:
    """Refuse a PNG whose compressed data is far longer than its pixels: libpng, which OpenCV asks
    for 16 bits, unpacks all of it.

    Args:
        data: its content, of which the header claims a size that is read.
        name: what messages call it.

    Raises:
        InvalidImage: it is such a file.
    """
    parts = [part for kind, part in _chunks(data) if kind == b"IDAT"]
    if sum(map(len, parts)) <= _MANY_COMPRESSED:
        return
    width, height, bits, kind = struct.unpack_from(">IIBB", data, 16)
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(kind, 4)
    filters = 3 * height  # one byte for each row, of interlaced ones too
    left, stream = width * height * samples * bits // 8 + filters + _SPARE, zlib.decompressobj()
    for part in parts:
        for start in range(0, len(part), 2**12):  # which become 4 MiB at most
            try:
                left -= len(stream.decompress(part[start : start + 2**12]))
            except zlib.error:  # it is damaged, and whoever decodes it will say so
                return
            if left < 0:
                raise refused(name, "has far more compressed data than pixels")
            if stream.eof:  # which libpng passes over without unpacking it
                return


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kinds and contents of a PNG's chunks."""
    at, content = 8, memoryview(data)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        at += 12 + length
