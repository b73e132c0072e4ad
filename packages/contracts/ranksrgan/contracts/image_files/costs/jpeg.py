"""What a JPEG would cost to read: its scans and segments, and what lies between these."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ranksrgan.contracts.image_files.costs.refusal import refused
from ranksrgan.contracts.image_files.costs.tiff import check_exif

# Progressive JPEG has 10 scans or so, and optimisers do not go beyond some dozens.
_MAX_SCANS = 100
_MAX_SEGMENTS = 5000
_MAX_EXIF_SEGMENTS = 100  # which Pillow copies each time that one more comes
_MAX_RESOURCES = 10_000  # of Photoshop, which Pillow takes apart
# Bytes before the first scan that belong to no segment: padding, which Pillow goes through one by
# one. Some writers align segments with it.
_MAX_PADDING = 2**18

# In the compressed data of a scan, FF 00 and the restart markers D0 to D7 are no markers.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_START, _END, _SCAN, _APP1, _APP2, _APP13 = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2, 0xED
# Markers that no length follows: of these, and of extensions, of which libjpeg takes none and
# Pillow goes on behind them.
_TEMPORARY, _EXTENSION, _EXTENSIONS = 0x01, 0xC8, range(0xF0, 0xFE)
_ALONE = frozenset({_START, _END, _TEMPORARY, _EXTENSION, *_EXTENSIONS})


def check_jpeg(data: bytes, name: str) -> None:
    """Refuse a JPEG, or the beginning of one; raises as `check_costs`."""
    scans = resources = 0
    exif: list[bytes] = []
    others = b""  # the index of further pictures; of several, the last counts
    for number, (marker, segment) in enumerate(_segments(data, name), 1):
        scans += marker == _SCAN
        if scans > _MAX_SCANS or number > _MAX_SEGMENTS:
            what = f"{_MAX_SCANS} scans" if scans > _MAX_SCANS else f"{_MAX_SEGMENTS} segments"
            raise refused(name, f"has over {what}")
        if scans:  # Pillow looks for the others before them
            continue
        if marker == _APP1 and segment.startswith(b"Exif\0\0"):
            exif.append(segment[6:])
            if len(exif) > _MAX_EXIF_SEGMENTS:
                raise refused(name, f"has over {_MAX_EXIF_SEGMENTS} EXIF segments")
        if marker == _APP2 and segment.startswith(b"MPF\0"):
            others = segment[4:]
        if marker == _APP13 and segment.startswith(b"Photoshop 3.0\0"):
            resources += segment.count(b"8BIM")
            if resources > _MAX_RESOURCES:
                raise refused(name, f"has over {_MAX_RESOURCES} resources of Photoshop")
    check_exif(b"".join(exif), name)
    check_exif(others, name)


def _segments(data: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    """Markers and what follows each, as Pillow finds them up to the first scan, and libjpeg from
    there to the picture's end.

    Raises:
        InvalidImage: the padding is longer than all that writers leave.
    """
    at, padding, scanned = 2, 0, False
    while found := _MARKER.search(data, at):
        marker, start = found[1][0], found.end()
        if not scanned:
            padding += start - at
            _check_padding(padding, name)
        if scanned and marker == _END:  # one before may be that of tables alone
            return
        length = 0 if marker in _ALONE else int.from_bytes(data[start : start + 2], "big")
        yield marker, data[start + 2 : start + length]
        at = start if marker in _ALONE else start + max(length, 2)
        scanned = scanned or marker == _SCAN
    if not scanned:
        _check_padding(padding + len(data) - at, name)


def _check_padding(length: int, name: str) -> None:
    if length > _MAX_PADDING:
        raise refused(name, f"has over {_MAX_PADDING} bytes between its segments")
