"""How many pictures a file holds: frames of an animation, pages of a document.

Of such a file one picture would be read, and nobody would learn of the others. A second picture
that is the first one in another form does not count: reduced sizes and masks of TIFF, as it says
itself, and what phones put behind a JPEG (MPO: a depth map, a brighter exposure).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

from PIL import Image as PillowImage

from ranksrgan.contracts.errors import InvalidImage

# More are not counted: a file may claim any number.
_MOST = 1000

_NEW_SUBFILE, _SUBFILE = 254, 255
_REDUCED, _MASK = 1, 4  # bits of the new field
_OLD_REDUCED = 2  # value of the old one


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
        count = sum(1 for _ in islice(_pages(data), _MOST + 1))
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


def _pages(data: bytes) -> Iterator[None]:
    """One for each directory of a TIFF that is a picture of its own; the first always is."""
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    place, count = struct.Struct(f"{order}{'Q' if big else 'I'}"), f"{order}{'Q' if big else 'H'}"
    entry, header = (20, 8) if big else (12, 2)
    at = 8 if big else 4
    seen: set[int] = set()
    while at + place.size <= len(data):
        (directory,) = place.unpack_from(data, at)
        if directory == 0 or directory in seen or directory + header > len(data):
            return
        (fields,) = struct.unpack_from(count, data, directory)
        at = directory + header + fields * entry
        first = data[directory + header : min(at, directory + header + 2 * entry)]
        if not seen or not _is_another_form(first, order, entry):
            yield
        seen.add(directory)


def _is_another_form(fields: bytes, order: str, entry: int) -> bool:
    """By the first fields of a directory, which are in the order of their tags."""
    for start in range(0, len(fields) - entry + 1, entry):
        tag, kind = struct.unpack_from(f"{order}HH", fields, start)
        value = start + (12 if entry == 20 else 8)
        (number,) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", fields, value)
        if tag == _NEW_SUBFILE and number & (_REDUCED | _MASK):
            return True
        if tag == _SUBFILE and number == _OLD_REDUCED:
            return True
    return False
