"""EXIF blocks: kept byte for byte, but for what would no longer be true.

An EXIF block is a small TIFF file without pixels: directories of fields, chained by offsets from
its first byte. Cameras put blocks of their own into it (maker notes) whose offsets nobody else
knows, so a block is not taken apart and written anew: the few bytes that would be false of the
picture as it is now are changed in their places, and all the others stay. Between TIFF, where the
fields lie in the file's own directory, and the other formats a new block is built; the values of
the fields are copied as bytes there too.

After Exif 2.32 (CIPA DC-008) and TIFF 6.0 with Adobe's notes; BigTIFF after libtiff.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace

ORIENTATION = 274
X_RESOLUTION, Y_RESOLUTION = 282, 283
_EXIF_DIRECTORY, _GPS_DIRECTORY, _INTEROPERABILITY = 34665, 34853, 40965
_DIRECTORIES = frozenset({_EXIF_DIRECTORY, _GPS_DIRECTORY, _INTEROPERABILITY})
_PIXEL_WIDTH, _PIXEL_HEIGHT = 40962, 40963

# The fields of a TIFF file's directory that describe the picture and not how it is stored:
# document and image names, camera, resolution, software, dates, people, ratings.
_DESCRIBING = frozenset(
    {269, 270, 271, 272, 285, 296, 305, 306, 315, 316, 18246, 18249}
    | {ORIENTATION, X_RESOLUTION, Y_RESOLUTION}
    | {33432, _EXIF_DIRECTORY, _GPS_DIRECTORY}
    | set(range(40091, 40096))
)

# Bytes of a value, by the type of its field.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_BIG_SIZES = {16: 8, 17: 8, 18: 8}
_SWAPPED = {**_SIZES, **_BIG_SIZES, 5: 4, 10: 4}  # a rational number is two whole ones
SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 3, 4, 5, 7, 16


@dataclass(frozen=True)
class Field:
    """One entry of a directory.

    Attributes:
        tag: what it says.
        kind: the type of its values, as TIFF numbers them.
        values: as they are stored, in the byte order of the block.
        fields: of the directory that it points to; ``values`` is the pointer then.
        entry: where it begins in the block it was read from.
    """

    tag: int
    kind: int
    values: bytes
    fields: tuple[Field, ...] = ()
    entry: int = -1


def upright(block: bytes) -> bytes:
    """The block of a picture whose orientation has been applied: it reads 1.

    A thumbnail lies as the pixels did, so it is unlinked if they were turned; and the resolutions
    across and down change places where width and height do. A block that cannot
    be read is returned as it is: nobody else reads an orientation from it either.
    """
    turned = [field for field in read_fields(block) if field.tag == ORIENTATION]
    if not turned or _number(block, turned[0]) == 1:
        return block
    changed = bytearray(block)
    _set_number(changed, turned[0], 1)
    if is_on_its_side(block):
        _exchange_resolutions(changed)
    _unlink_thumbnail(changed)
    return bytes(changed)


def is_on_its_side(block: bytes) -> bool:
    """Whether width and height change places when the orientation is applied."""
    fields = (field for field in read_fields(block) if field.tag == ORIENTATION)
    return any(5 <= _number(block, field) <= 8 for field in fields)


def with_size(block: bytes, width: int, height: int) -> bytes:
    """The block with the size in pixels as it is now, if it has one."""
    changed = bytearray(block)
    for directory in read_fields(block):
        for field in directory.fields:
            if field.tag == _PIXEL_WIDTH:
                _set_number(changed, field, width)
            elif field.tag == _PIXEL_HEIGHT:
                _set_number(changed, field, height)
    return bytes(changed)


def with_fields(block: bytes, fields: Iterable[Field]) -> bytes:
    """The block with such fields in its first directory, in place of those that have their tags.

    That directory alone moves, behind all the others; a block that cannot be read stays as it is.

    Args:
        block: a classic one.
        fields: little-endian.
    """
    order = byte_order(block)
    if not read_fields(block) or struct.unpack_from(f"{order}H", block, 2)[0] != 42:
        return block
    own = [field if order == "<" else _swapped(field) for field in fields]
    tags = {field.tag for field in own}
    at = struct.unpack_from(f"{order}I", block, 4)[0]
    first, count = at + 2, struct.unpack_from(f"{order}H", block, at)[0]
    end = first + 12 * count
    entries = {
        struct.unpack_from(f"{order}H", block, entry)[0]: block[entry : entry + 12]
        for entry in reversed(range(first, min(end, len(block) - 11), 12))  # the first one counts
    }
    begin = len(block) + len(block) % 2
    behind, tail = begin + 2 + 12 * len(entries.keys() | tags) + 4, b""
    for field in own:
        inline = field.values.ljust(4, b"\0")
        if len(field.values) > 4:
            inline = struct.pack(f"{order}I", behind + len(tail))
            tail += field.values + bytes(len(field.values) % 2)
        number = len(field.values) // _SIZES[field.kind]
        entries[field.tag] = struct.pack(f"{order}HHI", field.tag, field.kind, number) + inline
    directory = struct.pack(f"{order}H", len(entries))
    directory += b"".join(entry for _, entry in sorted(entries.items()))
    directory += block[end : end + 4].ljust(4, b"\0")  # where the thumbnail's is
    head = block[:4] + struct.pack(f"{order}I", begin)
    return head + block[8:].ljust(begin - 8, b"\0") + directory + tail


def from_tiff(data: bytes) -> bytes | None:
    """The EXIF block of a TIFF file, made from its directory; None if that describes nothing."""
    fields = describing(data)
    return from_fields(fields) if fields else None


def from_fields(fields: Iterable[Field]) -> bytes:
    """An EXIF block of fields that are little-endian."""
    return struct.pack("<2sHI", b"II", 42, 8) + to_bytes(fields, "<", at=8)


def describing(block: bytes) -> list[Field]:
    """The fields of a block, or of a TIFF file, that a TIFF file may take over, little-endian."""
    fields = [field for field in read_fields(block) if field.tag in _DESCRIBING]
    return fields if byte_order(block) == "<" else [_swapped(field) for field in fields]


def byte_order(block: bytes | bytearray) -> str:
    """``"<"`` or ``">"``, as `struct` has it."""
    return ">" if block[:2] == b"MM" else "<"


def read_fields(block: bytes) -> list[Field]:
    """The first directory of a block or of a TIFF file, with those that it points to.

    What lies outside of the block, or is of a type that is not known, is left out: damaged EXIF is
    common, and no reason to refuse a picture.
    """
    order = byte_order(block)
    if block[:2] not in _MARKS.values() or len(block) < 16:
        return []
    version = struct.unpack_from(f"{order}H", block, 2)[0]
    if version == 42:
        return _read_directory(
            block, order, struct.unpack_from(f"{order}I", block, 4)[0], big=False
        )
    if version == 43:
        return _read_directory(block, order, struct.unpack_from(f"{order}Q", block, 8)[0], big=True)
    return []


def to_bytes(fields: Iterable[Field], order: str, at: int, *, big: bool = False) -> bytes:
    """A directory with all its values, to be placed at ``at`` (even) in a file.

    Args:
        fields: in any order; the values in the byte order ``order``.
        order: ``"<"`` or ``">"``.
        at: offsets count from the file's first byte.
        big: in the form of BigTIFF.
    """
    form = _BIG if big else _CLASSIC
    fields = sorted(fields, key=lambda field: field.tag)
    head = struct.calcsize(f"={form.count}") + len(fields) * form.entry_size + form.pointer_size
    entries, tail = struct.pack(f"{order}{form.count}", len(fields)), b""
    for field in fields:
        here = at + head + len(tail)
        pointer = struct.pack(f"{order}{form.pointer}", here)
        kind, values = field.kind, field.values
        if field.fields:
            tail += to_bytes(field.fields, order, here, big=big)
            kind, values = LONG8 if big else LONG, pointer
        size = (_SIZES | _BIG_SIZES)[kind]
        if len(values) > form.pointer_size:
            tail += values + bytes(-len(values) % 8)
            inline = pointer
        else:
            inline = values.ljust(form.pointer_size, b"\0")
        entries += struct.pack(f"{order}HH{form.pointer}", field.tag, kind, len(values) // size)
        entries += inline
    return entries + bytes(form.pointer_size) + tail


@dataclass(frozen=True)
class _Form:
    """How a directory is laid out: `struct` letters of its number of fields and of a pointer."""

    count: str
    pointer: str

    @property
    def pointer_size(self) -> int:
        return struct.calcsize(f"={self.pointer}")

    @property
    def entry_size(self) -> int:
        return 4 + 2 * self.pointer_size


_CLASSIC, _BIG = _Form("H", "I"), _Form("Q", "Q")
_MARKS = {"<": b"II", ">": b"MM"}


def _read_directory(
    block: bytes, order: str, at: int, *, big: bool, levels: int = 2
) -> list[Field]:
    form = _BIG if big else _CLASSIC
    sizes = _SIZES | _BIG_SIZES if big else _SIZES
    first = at + struct.calcsize(f"={form.count}")
    if first > len(block):
        return []
    count = struct.unpack_from(f"{order}{form.count}", block, at)[0]
    fields: dict[int, Field] = {}  # a tag counts once, so that no block is read for ever
    for entry in range(first, first + min(count, 4096) * form.entry_size, form.entry_size):
        inline = entry + 4 + form.pointer_size
        if inline + form.pointer_size > len(block):
            break
        tag, kind, values = struct.unpack_from(f"{order}HH{form.pointer}", block, entry)
        length = sizes.get(kind, 0) * values
        pointer = struct.unpack_from(f"{order}{form.pointer}", block, inline)[0]
        start = pointer if length > form.pointer_size else inline
        if length == 0 or start + length > len(block) or tag in fields:
            continue
        below: list[Field] = []
        if tag in _DIRECTORIES:
            if levels:
                below = _read_directory(block, order, pointer, big=big, levels=levels - 1)
            if not below:
                continue
        fields[tag] = Field(tag, kind, block[start : start + length], tuple(below), entry)
    return list(fields.values())


def _swapped(field: Field) -> Field:
    """The field in the other byte order. Of what is ``UNDEFINED`` nobody knows the order."""
    size = _SWAPPED[field.kind]
    values = field.values
    turned = b"".join(values[at : at + size][::-1] for at in range(0, len(values), size))
    return replace(field, values=turned, fields=tuple(map(_swapped, field.fields)))


def _number(block: bytes, field: Field) -> int:
    letter = {SHORT: "H", LONG: "I"}.get(field.kind)
    if letter is None:
        return 0
    return int(struct.unpack_from(f"{byte_order(block)}{letter}", field.values)[0])


def _set_number(block: bytearray, field: Field, number: int) -> None:
    """Change a field of a classic block in its place; a LONG if a SHORT cannot hold it."""
    order = byte_order(block)
    if field.kind == SHORT and number < 2**16:
        struct.pack_into(f"{order}IHH", block, field.entry + 4, 1, number, 0)
    else:
        struct.pack_into(f"{order}HII", block, field.entry + 2, LONG, 1, number)


def _exchange_resolutions(block: bytearray) -> None:
    wanted = (X_RESOLUTION, Y_RESOLUTION)
    both = [field for field in read_fields(bytes(block)) if field.tag in wanted]
    if [field.kind for field in both] == [RATIONAL, RATIONAL]:  # of which entries hold the place
        across, down = (slice(field.entry + 4, field.entry + 12) for field in both)
        block[across], block[down] = block[down], block[across]


def _unlink_thumbnail(block: bytearray) -> None:
    order = byte_order(block)
    at = struct.unpack_from(f"{order}I", block, 4)[0]
    end = at + 2 + 12 * struct.unpack_from(f"{order}H", block, at)[0]
    if end + 4 <= len(block):
        struct.pack_into(f"{order}I", block, end, 0)
