"""What an image file would cost to read beside its pixels, found out before anybody reads it.

Decoders copy every field of a directory although all of them may claim the same bytes, pass over
the whole picture for every scan, and keep a record of every strip and chunk. So a file of a
megabyte can cost gigabytes or minutes, however few pixels it has. No file that somebody has made
for its picture comes near the bounds here; damaged EXIF does not either.
"""

from __future__ import annotations

from ranksrgan.contracts.image_files.costs.jpeg import check_jpeg
from ranksrgan.contracts.image_files.costs.png import check_png, check_unpacked
from ranksrgan.contracts.image_files.costs.tiff import check_exif, check_tiff, is_tiff

__all__ = ["check_costs", "check_exif", "check_unpacked"]


def check_costs(data: bytes, name: str) -> None:
    """Refuse a file that would cost far more to read than its pixels do.

    Args:
        data: its content, or the beginning of it.
        name: what messages call it.

    Raises:
        InvalidImage: it would.
    """
    if data[:2] == b"\xff\xd8":
        check_jpeg(data, name)
    elif data[:4] == b"\x89PNG":
        check_png(data, name)
    elif is_tiff(data):
        check_tiff(data, name)
