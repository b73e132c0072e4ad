"""What an image file would cost to read beside its pixels, found out before anybody reads it.

Decoders copy every field of a directory although all of them may claim the same bytes, pass over
the whole picture for every scan, and keep a record of every strip and chunk. So a file of a
megabyte can cost gigabytes or minutes, however few pixels it has. No file that somebody has made
for its picture comes near the bounds here; damaged EXIF does not either.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from ranksrgan.contracts.errors import InvalidImage

# Progressive JPEG has 10 scans or so, and optimisers do not go beyond some dozens.
_MAX_SCANS = 100
_MAX_SEGMENTS = 5000
# Of a JPEG, which Pillow copies each time that one more comes; a PNG has one, and each is unpacked.
_MAX_EXIF_SEGMENTS = 100
_MAX_PROFILES = 10
# Bytes of compressed pixels, which deflate makes a thousandfold, from which they are unpacked to
# see how many there are, and bytes beyond them that nobody minds.
_MANY_COMPRESSED, _SPARE = 2**20, 2**20
_MAX_STRIPS = 2**16
_MAX_FIELDS = 1000  # of one directory
_MAX_FIELDS_IN_ALL = 10_000
# Bytes of all values of a TIFF structure, beyond twice its own length.
_MAX_VALUES = 16 * 2**20
_SMALL_TILE = 2**22  # pixels of a tile that is allowed in a picture of any size

_WIDTH, _HEIGHT, _STRIPS, _SAMPLES = 256, 257, 273, 277
_TILE_WIDTH, _TILE_HEIGHT, _TILES = 322, 323, 324
_DIRECTORIES = frozenset({34665, 34853, 40965})  # EXIF, GPS, interoperability
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
_MARKS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}

# In the compressed data of a scan, FF 00 and the restart markers D0 to D7 are no markers.
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_START, _END, _SCAN, _APP1, _APP2 = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2
_TEMPORARY = 0x01


def check_costs(data: bytes, name: str) -> None:
    """Refuse a file that would cost far more to read than its pixels do.

    Args:
        data: its content.
        name: what messages call it.

    Raises:
        InvalidImage: it would.
    """
    if data[:2] == b"\xff\xd8":
        _check_jpeg(data, name)
    elif data[:4] == b"\x89PNG":
        _check_png(data, name)
    elif _is_tiff(data):
        _check_tiff(data, name)


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
                raise _refused(name, "has far more compressed data than pixels")
            if stream.eof:  # which libpng passes over without unpacking it
                return


def check_exif(block: bytes, name: str) -> None:
    """Refuse an EXIF block, or another one of TIFF's structure, whose values are far longer
    together than it is.

    Raises:
        InvalidImage: it is such a block.
    """
    start = block.find(b"Exif\0\0") + 6 if block[:6] == b"Exif\0\0" else 0
    _check_values(block[start:], name)


class _Field(NamedTuple):
    tag: int
    values: int
    length: int
    number: int  # what stands in its place: the value, if it is one small number


def _check_jpeg(data: bytes, name: str) -> None:
    at, scans, segments = 2, 0, 0
    exif: list[bytes] = []
    others = b""  # the index of further pictures; of several, the last counts
    while found := _MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == _END:
            break
        if marker in (_START, _TEMPORARY):
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        segment = data[at + 2 : at + length]
        scans += marker == _SCAN
        segments += 1
        if marker == _APP1 and segment.startswith(b"Exif\0\0"):
            exif.append(segment[6:])
            if len(exif) > _MAX_EXIF_SEGMENTS:
                raise _refused(name, f"has over {_MAX_EXIF_SEGMENTS} EXIF segments")
        if marker == _APP2 and segment.startswith(b"MPF\0"):
            others = segment[4:]
        at += max(length, 2)
        if scans > _MAX_SCANS or segments > _MAX_SEGMENTS:
            what = f"{_MAX_SCANS} scans" if scans > _MAX_SCANS else f"{_MAX_SEGMENTS} segments"
            raise _refused(name, f"has over {what}")
    _check_values(b"".join(exif), name)
    _check_values(others, name)


def _check_png(data: bytes, name: str) -> None:
    profiles = 0
    for number, (kind, _) in enumerate(_chunks(data), 1):
        profiles += kind == b"iCCP"
        if number > _MAX_SEGMENTS + len(data) // 1024:
            raise _refused(name, f"has over {_MAX_SEGMENTS} chunks")
        if profiles > _MAX_PROFILES:
            raise _refused(name, f"has over {_MAX_PROFILES} ICC profiles")


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kinds and contents of a PNG's chunks."""
    at, content = 8, memoryview(data)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        at += 12 + length


def _check_tiff(data: bytes, name: str) -> None:
    _check_values(data, name)
    numbers: dict[int, int] = {}
    for field in _first_directory(data):
        if field.tag in numbers:
            raise _refused(name, f"has the field {field.tag} twice")
        numbers[field.tag] = field.number
        if field.tag in (_STRIPS, _TILES):
            rows = numbers.get(_HEIGHT, 0)
            possible = rows * 2**16 if field.tag == _TILES else rows * 16
            if field.values > min(_MAX_STRIPS, max(possible, 1)):
                raise _refused(name, f"has {field.values} strips or tiles")
    pixels = numbers.get(_WIDTH, 0) * numbers.get(_HEIGHT, 0)
    tile = numbers.get(_TILE_WIDTH, 0) * numbers.get(_TILE_HEIGHT, 0)
    if tile > max(_SMALL_TILE, 4 * pixels):
        raise _refused(name, f"has tiles of {tile} pixels")


def _is_tiff(block: bytes) -> bool:
    """Whether it has the structure of TIFF, with room for a pointer to a directory."""
    return block[:4] in _MARKS and len(block) >= 16


def _first_directory(block: bytes) -> Iterator[_Field]:
    order, big = _MARKS[block[:4]], block[2:4] in (b"+\0", b"\0+")
    yield from _directory(block, order, _pointer(block, order, 8 if big else 4, big), big)


def _check_values(block: bytes, name: str) -> None:
    """Add up what all the fields of a TIFF structure hold, directories below included.

    Each directory is visited once, however many fields point to it; but directories may overlap,
    so their fields are counted together, too.
    """
    if not _is_tiff(block):
        return
    order, big = _MARKS[block[:4]], block[2:4] in (b"+\0", b"\0+")
    room, fields = _MAX_VALUES + 2 * len(block), 0
    waiting = [(_pointer(block, order, 8 if big else 4, big), 0)]
    seen = {waiting[0][0]}
    while waiting:
        at, depth = waiting.pop(0)  # from the top down: each is met where it lies highest
        for number, field in enumerate(_directory(block, order, at, big)):
            room -= min(field.length, len(block))
            fields += 1
            if room < 0 or number >= _MAX_FIELDS or fields > _MAX_FIELDS_IN_ALL:
                raise _refused(name, "has fields that claim far more than the file holds")
            if field.tag in _DIRECTORIES and depth < 2 and field.number not in seen:
                seen.add(field.number)
                waiting.append((field.number, depth + 1))


def _directory(block: bytes, order: str, at: int, big: bool) -> Iterator[_Field]:
    entry = struct.Struct(f"{order}HHQ" if big else f"{order}HHI")
    count_size, place_size = (8, 8) if big else (2, 4)
    if at + count_size > len(block):
        return
    count = struct.unpack_from(f"{order}{'Q' if big else 'H'}", block, at)[0]
    at += count_size
    for _ in range(count):
        place = at + entry.size
        if place + place_size > len(block):
            return
        tag, kind, values = entry.unpack_from(block, at)
        short = kind == 3 and values == 1
        if short:
            number = struct.unpack_from(f"{order}H", block, place)[0]
        else:
            number = _pointer(block, order, place, big)
        yield _Field(tag, values, values * _SIZES.get(kind, 0), number)
        at = place + place_size


def _pointer(block: bytes, order: str, at: int, big: bool) -> int:
    number: int = struct.unpack_from(f"{order}{'Q' if big else 'I'}", block, at)[0]
    return number


def _refused(name: str, why: str) -> InvalidImage:
    return InvalidImage(
        f"{name} {why}: it would cost far more to read than its pixels do; save it anew",
        field=name,
    )
