"""BMP files that Pillow reads slowly or wrongly, of which OpenCV reads the pixels.

Those stored as runs of like pixels (RLE4 and RLE8) it goes through pixel by pixel in Python, also
those that no run tells: a file of 17 KB takes it four seconds. Those of 4 or 8 bits whose palette
is black and white, and those of 4 whose palette is its own numbers, it takes for ones of 1 and of 8
bits.
"""

from __future__ import annotations

import numpy as np
from PIL import Image as PillowImage

from ranksrgan.contracts.errors import InvalidImage
from ranksrgan.contracts.image_files import opencv
from ranksrgan.contracts.image_files.picture import Picture

_RLE8, _RLE4 = 1, 2
# Bits of a pixel that Pillow reads where it leaves out the palette.
_BITS = {"1": 1, "L": 8}
# Where the header says its length, and how many bits a pixel has: of the shortest one, of others.
_LENGTH, _SHORTEST, _BITS_OF_SHORTEST, _BITS_OF_OTHERS = 14, 12, 24, 28


def is_for_opencv(data: bytes, image: PillowImage.Image) -> bool:
    """Whether it is such a file; arguments as of `decode_bmp`."""
    if image.format != "BMP":
        return False
    shortest = data[_LENGTH] == _SHORTEST
    bits = data[_BITS_OF_SHORTEST if shortest else _BITS_OF_OTHERS]
    return image.info.get("compression") in (_RLE8, _RLE4) or bits != _BITS.get(image.mode, bits)


def decode_bmp(data: bytes, image: PillowImage.Image, name: str) -> Picture:
    """Its pixels, without metadata. What no run tells has the first colour.

    Args:
        data: the file's content.
        image: the same, as Pillow has opened it.
        name: what error messages call it.

    Raises:
        InvalidImage: damaged, as by a run that goes beyond its row.
        ImageTooLarge: larger than OpenCV reads.
    """
    pixels = opencv.decode(data, image, name, "of runs or a palette")
    if pixels is None or pixels.shape[:2] != (image.height, image.width):
        raise InvalidImage(
            f"{name} is damaged: its pixels, of runs or a palette, cannot be decoded", field=name
        )
    if pixels.ndim == 3:
        return Picture(np.ascontiguousarray(pixels[..., ::-1]))
    grey = pixels[..., None]
    return Picture(grey if image.mode in _BITS else grey.repeat(3, axis=2))
