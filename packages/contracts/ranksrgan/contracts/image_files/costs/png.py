"""What a PNG would cost to read: its chunks, profiles, and compressed data beyond its pixels."""

from __future__ import annotations

import struct
import zlib

from ranksrgan.contracts.errors import InvalidImage
from ranksrgan.contracts.image_files.costs.refusal import refused
from ranksrgan.contracts.image_files.png_chunks import chunks

_FIRST_KIND = slice(12, 16)  # after the signature and a length
_MAX_CHUNKS = 5000
_MAX_PROFILES = 10  # a PNG has one, and each is unpacked
_EXPANSION = 1032  # which deflate reaches at most
_SPARE = 2**20  # bytes beyond the pixels that nobody minds


def check_png(data: bytes, name: str) -> None:
    """Refuse a PNG, or the beginning of one; raises as `check_costs`."""
    if len(data) >= _FIRST_KIND.stop and data[_FIRST_KIND] != b"IHDR":
        raise InvalidImage(f"{name} is damaged: a PNG begins with its header, IHDR", field=name)
    profiles = 0
    for number, (kind, _, _) in enumerate(chunks(data), 1):
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
    parts = [chunk.content for chunk in chunks(data) if chunk.kind == b"IDAT"]
    width, height, bits, kind = struct.unpack_from(">IIBB", data, 16)
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(kind, 4)
    filters = 3 * height  # one byte for each row, of interlaced ones too
    left = width * height * samples * bits // 8 + filters + _SPARE
    if sum(map(len, parts)) * _EXPANSION <= left:
        return
    stream = zlib.decompressobj()
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
