"""Encoders that are given a picture from the top down, a strip of rows at a time.

PNG, TIFF and JPEG are written as the strips come and hold none of them; a JPEG is limited to 65,535
pixels a side. WebP and BMP have encoders that want the whole picture, which is collected for them,
in integers.
"""

from __future__ import annotations

from typing import BinaryIO, Protocol

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.image_files.encoders.collected import CollectedWriter
from ranksrgan.contracts.image_files.encoders.jpeg import JpegWriter
from ranksrgan.contracts.image_files.encoders.layout import Layout
from ranksrgan.contracts.image_files.encoders.png import LONGEST_PROFILE, PngWriter
from ranksrgan.contracts.image_files.encoders.tiff import TiffWriter
from ranksrgan.contracts.image_files.picture import Picture

__all__ = [
    "DEEP",
    "SUFFIXES",
    "TRANSPARENT",
    "Layout",
    "PictureWriter",
    "check_format",
    "open_writer",
]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})

#: The suffixes of formats that hold an alpha channel, and of those that hold 16 bits.
TRANSPARENT = frozenset({".png", ".tif", ".tiff", ".webp"})
DEEP = frozenset({".png", ".tif", ".tiff"})

# The longest side that each format has room for.
_LONGEST = {
    ".png": 2**31 - 1,
    ".tif": 2**31 - 1,
    ".tiff": 2**31 - 1,
    ".jpg": 65_535,
    ".jpeg": 65_535,
    ".webp": 16_383,
    ".bmp": 65_535,  # the format's own limit is that of its 32-bit size of the file
}

# An EXIF block is one segment of a JPEG, whose length has 16 bits.
_LONGEST_JPEG_EXIF = 65_533 - len(b"Exif\0\0")


class PictureWriter(Protocol):
    """Writes one picture to an open file."""

    def write(self, strip: Picture) -> None:
        """Append the rows of ``strip``, which has the layout's width and channels."""
        ...

    def close(self) -> None:
        """Finish the file, which stays open, after the last strip."""
        ...


def open_writer(file: BinaryIO, layout: Layout, *, suffix: str, quality: int = 95) -> PictureWriter:
    """A writer of the format that ``suffix`` names.

    Args:
        file: open for writing and seeking, at its beginning.
        layout: of the picture to come.
        suffix: of one of `SUFFIXES`, in any case.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        InvalidInput: the format is unknown or cannot hold this picture; nothing was written.
    """
    suffix = suffix.lower()
    check_format(layout, suffix)
    if suffix == ".png":
        return PngWriter(file, layout)
    if suffix in {".tif", ".tiff"}:
        return TiffWriter(file, layout)
    if suffix in {".jpg", ".jpeg"}:
        return JpegWriter(file, layout, quality)
    return CollectedWriter(file, layout, suffix, quality)


def check_format(layout: Layout, suffix: str) -> None:
    """Refuse what the format of ``suffix`` cannot hold; raises as `open_writer`."""
    if suffix not in SUFFIXES:
        raise InvalidInput(
            f"cannot write {suffix or 'a file without suffix'}: use one of "
            f"{', '.join(sorted(SUFFIXES))}",
            field="suffix",
        )
    if layout.depth > 255 and suffix not in DEEP:
        raise InvalidInput(f"{suffix} cannot hold 16 bits: use .png or .tif", field="suffix")
    if layout.alpha and suffix not in TRANSPARENT:
        raise InvalidInput(
            f"{suffix} cannot hold transparency: use .png, .tif or .webp", field="suffix"
        )
    if max(layout.height, layout.width) > _LONGEST[suffix]:
        raise InvalidInput(
            f"{suffix} cannot hold {layout.width} x {layout.height} pixels, at most "
            f"{_LONGEST[suffix]} a side: use .png or .tif",
            field="suffix",
        )
    profile = layout.metadata.icc_profile
    if profile and suffix == ".png" and len(profile) > LONGEST_PROFILE:
        raise InvalidInput(
            f"{suffix} is written with an ICC profile of at most {LONGEST_PROFILE} bytes, and this "
            f"one has {len(profile)}: use .tif, .jpg or .webp",
            field="suffix",
        )
    exif = layout.metadata.exif
    if exif and suffix in {".jpg", ".jpeg"} and len(exif) > _LONGEST_JPEG_EXIF:
        raise InvalidInput(
            f"{suffix} cannot hold an EXIF block of {len(exif)} bytes, at most "
            f"{_LONGEST_JPEG_EXIF}: use .png, .tif or .webp",
            field="suffix",
        )
