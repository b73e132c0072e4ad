"""What a JPEG would cost to read: its scans and segments."""

from __future__ import annotations

import re

from ranksrgan.contracts.image_files.costs.refusal import refused
from ranksrgan.contracts.image_files.costs.tiff import check_exif

# Progressive JPEG has 10 scans or so, and optimisers do not go beyond some dozens.
_MAX_SCANS = 100
_MAX_SEGMENTS = 5000
_MAX_EXIF_SEGMENTS = 100  # which Pillow copies each time that one more comes

# In the compressed data of a scan, FF 00 and the restart markers D0 to D7 are no markers.
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_START, _END, _SCAN, _APP1, _APP2 = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2
_TEMPORARY = 0x01


def check_jpeg(data: bytes, name: str) -> None:
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
                raise refused(name, f"has over {_MAX_EXIF_SEGMENTS} EXIF segments")
        if marker == _APP2 and segment.startswith(b"MPF\0"):
            others = segment[4:]
        at += max(length, 2)
        if scans > _MAX_SCANS or segments > _MAX_SEGMENTS:
            what = f"{_MAX_SCANS} scans" if scans > _MAX_SCANS else f"{_MAX_SEGMENTS} segments"
            raise refused(name, f"has over {what}")
    check_exif(b"".join(exif), name)
    check_exif(others, name)
