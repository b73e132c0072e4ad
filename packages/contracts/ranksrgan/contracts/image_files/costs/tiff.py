"""What a TIFF, or an EXIF block, would cost to read: its fields, strips and tiles."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ranksrgan.contracts.image_files.costs.refusal import refused

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


def check_exif(block: bytes, name: str) -> None:
    """Refuse an EXIF block, or another one of TIFF's structure, whose values are far longer
    together than it is.

    Raises:
        InvalidImage: it is such a block.
    """
    start = block.find(b"Exif\0\0") + 6 if block[:6] == b"Exif\0\0" else 0
    check_values(block[start:], name)


class _Field(NamedTuple):
    tag: int
    values: int
    length: int
    number: int  # what stands in its place: the value, if it is one small number


def check_tiff(data: bytes, name: str) -> None:
    check_values(data, name)
    numbers: dict[int, int] = {}
    for field in _first_directory(data):
        if field.tag in numbers:
            raise refused(name, f"has the field {field.tag} twice")
        numbers[field.tag] = field.number
        if field.tag in (_STRIPS, _TILES):
            rows = numbers.get(_HEIGHT, 0)
            possible = rows * 2**16 if field.tag == _TILES else rows * 16
            if field.values > min(_MAX_STRIPS, max(possible, 1)):
                raise refused(name, f"has {field.values} strips or tiles")
    pixels = numbers.get(_WIDTH, 0) * numbers.get(_HEIGHT, 0)
    tile = numbers.get(_TILE_WIDTH, 0) * numbers.get(_TILE_HEIGHT, 0)
    if tile > max(_SMALL_TILE, 4 * pixels):
        raise refused(name, f"has tiles of {tile} pixels")


def is_tiff(block: bytes) -> bool:
    """Whether it has the structure of TIFF, with room for a pointer to a directory."""
    return block[:4] in _MARKS and len(block) >= 16


def _first_directory(block: bytes) -> Iterator[_Field]:
    order, big = _MARKS[block[:4]], block[2:4] in (b"+\0", b"\0+")
    yield from _directory(block, order, _pointer(block, order, 8 if big else 4, big), big)


def check_values(block: bytes, name: str) -> None:
    """Add up what all the fields of a TIFF structure hold, directories below included.

    Each directory is visited once, however many fields point to it; but directories may overlap,
    so their fields are counted together, too.
    """
    if not is_tiff(block):
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
                raise refused(name, "has fields that claim far more than the file holds")
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
