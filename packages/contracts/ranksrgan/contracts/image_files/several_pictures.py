"""How many pictures a file holds: frames of an animation, pages of a document.

Of such a file one picture would be read, and nobody would learn of the others. A second picture
that is the first one in another form does not count: reduced sizes and masks of TIFF, as it says
itself or as its sides do (the first one's proportions, and a quarter of them or less), and what
phones put behind a JPEG (MPO: a depth map, a brighter exposure).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from ranksrgan.contracts.errors import InvalidImage

# More are not counted: a file may claim any number. A directory of more fields is none: no picture
# needs them, and directories that overlap would cost minutes to read.
_MOST = 1000
_MOST_FIELDS = 1000

_NEW_SUBFILE, _SUBFILE = 254, 255
_REDUCED, _MASK = 1, 4  # bits of the new field
_OLD_REDUCED = 2  # value of the old one
_WIDTH, _HEIGHT = 256, 257
_FIELDS = (_NEW_SUBFILE, _SUBFILE, _WIDTH, _HEIGHT)
_SIZES = {3: 2, 4: 4, 16: 8}  # bytes of the types of whole numbers

# So many times are the sides of a picture longer than those of its thumbnail, or more.
_THUMBNAIL = 4

_Numbers: TypeAlias = "dict[int, int]"  # by tag


def check_single(image: PillowImage.Image, data: bytes, name: str) -> None:
    """Refuse a file of several pictures.

    Args:
        image: as it was opened; nothing is decoded.
        data: content of its file.
        name: what messages call it.

    Raises:
        InvalidImage: it holds more than one.
    """
    count = 1
    if image.format == "TIFF":
        count = _pages(data)
    elif image.format in ("PNG", "WEBP"):  # both know from the header
        count = getattr(image, "n_frames", 1)
    if count > 1:
        many = f"over {_MOST}" if count > _MOST else f"{count}"
        what = "pages" if image.format == "TIFF" else "frames of an animation"
        raise InvalidImage(
            f"{name} holds {many} pictures ({what}), and one would be read: save each that is "
            "wanted as a file of its own",
            field=name,
        )


def _pages(data: bytes) -> int:
    """How many directories of a TIFF are pictures of their own; the first always is."""
    directories = list(islice(_directories(data), _MOST + 1))
    return 1 + sum(not _is_another_form(other, directories[0]) for other in directories[1:])


def _directories(data: bytes) -> Iterator[_Numbers]:
    """What `_FIELDS` say in each directory of a TIFF, up to a pointer that leads to none.

    Some writers leave anything behind the last directory, where the next one's place belongs.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    place, count = struct.Struct(f"{order}{'Q' if big else 'I'}"), f"{order}{'Q' if big else 'H'}"
    entry = np.dtype(
        [("tag", f"{order}u2"), ("kind", f"{order}u2")]
        + [(name, f"{order}u{place.size}") for name in ("count", "value")]
    )
    header = 8 if big else 2
    at = 8 if big else 4
    seen: set[int] = set()
    while at + place.size <= len(data):
        (directory,) = place.unpack_from(data, at)
        if directory == 0 or directory in seen or directory + header > len(data):
            return
        (fields,) = struct.unpack_from(count, data, directory)
        at = directory + header + fields * entry.itemsize
        if not 0 < fields <= _MOST_FIELDS or at > len(data):
            return
        entries = np.frombuffer(data, entry, fields, directory + header)
        if seen and (entries["tag"][1:] < entries["tag"][:-1]).any():
            return
        seen.add(directory)
        yield _numbers(entries, shift=order == ">")


def _numbers(entries: npt.NDArray[np.void], *, shift: bool) -> _Numbers:
    """The fields of a directory that hold one whole number; of those with one tag, the first.

    Args:
        entries: of the directory.
        shift: a short number stands in the upper bytes of its place, as in big-endian files.
    """
    numbers: _Numbers = {}
    wanted = entries[np.isin(entries["tag"], _FIELDS)]
    _, first = np.unique(wanted["tag"], return_index=True)  # as decoders do
    for found in wanted[first]:
        tag, kind, count, value = (int(part) for part in found)
        bits, room = 8 * _SIZES.get(kind, 0), 8 * found["value"].itemsize
        if count == 1 and 0 < bits <= room:
            numbers[tag] = value >> (room - bits) if shift else value % 2**bits
    return numbers


def _is_another_form(numbers: _Numbers, first: _Numbers) -> bool:
    """Whether a directory holds no picture, or the first one's as a mask or in small."""
    width, height = numbers.get(_WIDTH, 0), numbers.get(_HEIGHT, 0)
    if width == 0 or height == 0:
        return True
    if numbers.get(_NEW_SUBFILE, 0) & (_REDUCED | _MASK):
        return True
    if numbers.get(_SUBFILE) == _OLD_REDUCED:
        return True
    # Cameras do not mark their thumbnail. Pages of one document differ less in size.
    whole_width, whole_height = first.get(_WIDTH, 0), first.get(_HEIGHT, 0)
    return (
        _THUMBNAIL * width <= whole_width
        and _THUMBNAIL * height <= whole_height
        and abs(width * whole_height - height * whole_width) <= max(whole_width, whole_height)
    )
