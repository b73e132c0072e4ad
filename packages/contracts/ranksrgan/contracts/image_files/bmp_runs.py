"""BMP files that are stored as runs of like pixels (RLE4 and RLE8).

Pillow goes through them pixel by pixel in Python, also through those that no run tells: a file of
17 KB takes it four seconds.
"""

from __future__ import annotations

import numpy as np
from PIL import Image as PillowImage

from ranksrgan.contracts.errors import InvalidImage
from ranksrgan.contracts.image_files import opencv
from ranksrgan.contracts.image_files.picture import Picture

_RLE8, _RLE4 = 1, 2


def has_runs(image: PillowImage.Image) -> bool:
    """Whether it is such a file."""
    return image.format == "BMP" and image.info.get("compression") in (_RLE8, _RLE4)


def decode_runs(data: bytes, image: PillowImage.Image, name: str) -> Picture:
    """Its pixels, without metadata. What no run tells has the first colour.

    Args:
        data: the file's content.
        image: the same, as Pillow has opened it.
        name: what error messages call it.

    Raises:
        InvalidImage: damaged, as by a run that goes beyond its row.
        ImageTooLarge: larger than OpenCV reads.
    """
    pixels = opencv.decode(data, image, name, "of runs")
    if pixels is None or pixels.shape[:2] != (image.height, image.width):
        raise InvalidImage(f"{name} is damaged: its runs of pixels cannot be decoded", field=name)
    if pixels.ndim == 3:
        return Picture(np.ascontiguousarray(pixels[..., ::-1]))
    grey = pixels[..., None]
    return Picture(grey if image.mode in ("1", "L") else grey.repeat(3, axis=2))
