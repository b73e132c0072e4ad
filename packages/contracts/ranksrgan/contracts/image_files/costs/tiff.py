"""What a TIFF, or an EXIF block, would cost to read: its fields, strips and tiles."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ranksrgan.contracts.errors import InvalidImage
from ranksrgan.contracts.image_files.costs.refusal import refused

_MAX_STRIPS = 2**16
_MAX_FIELDS = 1000  # of one directory
_MAX_FIELDS_IN_ALL = 10_000
# Bytes of all values of a TIFF structure, and of all strips, beyond twice its own length.
_MAX_BEYOND = 16 * 2**20
_MOST_BYTES = 8  # of a pixel
_SMALL_TILE = 2**22  # pixels of a tile that is allowed in a picture of any size
# Pixels of all tiles together, beyond eight times those of the picture: of a narrow one tiles hold
# little.
_MAX_PADDING = 2**24

_WIDTH, _HEIGHT, _STRIPS, _STRIP_LENGTHS = 256, 257, 273, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_LENGTHS = 322, 323, 324, 325
_DIRECTORIES = frozenset({34665, 34853, 40965})  # EXIF, GPS, interoperability
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
# Kinds of a number that may be shorter than its place, and which of them point to directories.
_SMALL, _POINTING = {1: "B", 3: "H", 4: "I", 6: "B", 8: "H", 9: "I"}, frozenset({3})
# Of whole numbers, for numpy. One below zero, which nobody takes, is a large one here.
_WHOLE = {1: "u1", 3: "u2", 4: "u4", 6: "u1", 8: "u2", 9: "u4", 16: "u8", 17: "u8"}

# Byte orders by the four bytes that Pillow takes, two of which TIFF does not know.
_MARKS = {b"II*\0": "<", b"MM\0*": ">", b"II\0*": "<", b"MM*\0": ">", b"II+\0": "<", b"MM\0+": ">"}
_BIG, _BIG_OF_MOTOROLA = b"II+\0", b"MM\0+"


def check_exif(block: bytes, name: str) -> None:
    """Refuse an EXIF block, or another one of TIFF's structure, whose values are far longer
    together than it is.

    Raises:
        InvalidImage: it is such a block.
    """
    for _ in range(2):  # as Pillow does
        block = block.removeprefix(b"Exif\0\0")
    _check_values(block, name)


class _Field(NamedTuple):
    tag: int
    values: int
    length: int
    number: int  # what stands in its place: the value, if it is one small number
    kind: int
    at: int  # where its values begin


def check_tiff(data: bytes, name: str) -> None:
    """Refuse a TIFF, or the beginning of one; raises as `check_costs`."""
    if data[:4] == _BIG_OF_MOTOROLA:  # of which Pillow reads another directory than libtiff
        raise InvalidImage(
            f"{name} is a BigTIFF of the byte order MM, which is not read; write it as II, or "
            "convert it to PNG",
            field=name,
        )
    _check_values(data, name)
    numbers: dict[int, int] = {}
    places = lengths = None  # as libtiff, of strips or tiles whichever come last
    for field in _first_directory(data):
        if field.tag in numbers:
            raise refused(name, f"has the field {field.tag} twice")
        numbers[field.tag] = field.number
        if field.tag in (_STRIP_LENGTHS, _TILE_LENGTHS):
            lengths = field
        if field.tag in (_STRIPS, _TILES):
            places = field
            rows = numbers.get(_HEIGHT, 0)
            possible = rows * 2**16 if field.tag == _TILES else rows * 16
            if field.values > min(_MAX_STRIPS, max(possible, 1)):
                raise refused(name, f"has {field.values} strips or tiles")
    _check_tiles(numbers, name)
    # Of a flat picture, strips that are alike may be stored once.
    pixels = _MOST_BYTES * numbers.get(_WIDTH, 0) * numbers.get(_HEIGHT, 0)
    room = _MAX_BEYOND + 2 * len(data) + pixels
    if places and lengths and _in_strips(data, places, lengths) > room:
        raise refused(name, "has strips or tiles that overlap")


def _check_tiles(numbers: dict[int, int], name: str) -> None:
    """Refuse tiles far larger than their picture, of which libtiff uncompresses each whole."""
    width, height = numbers.get(_WIDTH, 0), numbers.get(_HEIGHT, 0)
    across, down = numbers.get(_TILE_WIDTH, 0), numbers.get(_TILE_HEIGHT, 0)
    if across * down > max(_SMALL_TILE, 4 * width * height):
        raise refused(name, f"has tiles of {across * down} pixels")
    if across and down:
        padded = -(-width // across) * across * -(-height // down) * down
        if padded > _MAX_PADDING + 8 * width * height:
            raise refused(name, f"has tiles of {padded} pixels together")


def _in_strips(data: bytes, places: _Field, lengths: _Field) -> int:
    """Bytes of all strips or tiles together, as far as they are in the file: libtiff copies each,
    to turn its bits around or to uncompress it, before it looks how little of it makes the pixels.
    """
    size = np.uint64(len(data))
    number = min(places.values, lengths.values)  # the rest of the longer one is of none
    starts = np.minimum(_whole_numbers(data, places, number), size)
    claimed = np.minimum(_whole_numbers(data, lengths, number), size)
    number = min(len(starts), len(claimed))
    return int(np.minimum(claimed[:number], size - starts[:number]).sum())


def _whole_numbers(data: bytes, field: _Field, number: int) -> npt.NDArray[np.uint64]:
    """The first ``number`` values of a field, as far as they are in the file."""
    kind = np.dtype(_MARKS[data[:4]] + _WHOLE.get(field.kind, "u4"))
    number = min(number, max(len(data) - field.at, 0) // kind.itemsize)
    return np.frombuffer(data, kind, number, field.at if number else 0).astype(np.uint64)


def is_tiff(block: bytes) -> bool:
    """Whether it has the structure of TIFF, with room for a pointer to a directory."""
    return block[:4] in _MARKS and len(block) >= 16


def _first_directory(block: bytes) -> Iterator[_Field]:
    order, big = _MARKS[block[:4]], block[:4] == _BIG
    yield from _directory(block, order, _pointer(block, order, 8 if big else 4, big), big)


def _check_values(block: bytes, name: str) -> None:
    """Refuse what has TIFF's structure and fields that hold far more than it does, all together and
    directories below included; raises as `check_exif`.

    Each directory is visited once, however many fields point to it; but directories may overlap,
    so their fields are counted together, too.
    """
    if not is_tiff(block):
        return
    order, big = _MARKS[block[:4]], block[:4] == _BIG
    room, fields = _MAX_BEYOND + 2 * len(block), 0
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
        if values == 1 and kind in (_POINTING if tag in _DIRECTORIES else _SMALL):
            number = struct.unpack_from(order + _SMALL[kind], block, place)[0]
        else:
            number = _pointer(block, order, place, big)
        length = values * _SIZES.get(kind, 0)
        inside = place if length <= place_size else _pointer(block, order, place, big)
        yield _Field(tag, values, length, number, kind, inside)
        at = place + place_size


def _pointer(block: bytes, order: str, at: int, big: bool) -> int:
    number: int = struct.unpack_from(f"{order}{'Q' if big else 'I'}", block, at)[0]
    return number
