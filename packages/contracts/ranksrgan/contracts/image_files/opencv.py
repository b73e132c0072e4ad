"""Files of which OpenCV reads the pixels: it keeps 16 bits, or is far faster than Pillow."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from ranksrgan.contracts.errors import ImageTooLarge

# What OpenCV, and the libpng in it, read: pixels a side, and in all.
_LONGEST, _MOST = 1_000_000, 2**30


def decode(data: bytes, image: PillowImage.Image, name: str, kind: str) -> npt.NDArray[Any] | None:
    """``(H, W)`` or ``(H, W, C)``, blue first; None if OpenCV cannot read it.

    Args:
        data: the file's content.
        image: the same, as Pillow has opened it.
        name: what error messages call it.
        kind: what error messages call such files.

    Raises:
        ImageTooLarge: larger than OpenCV reads.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # of a size that it does not read
        pixels = None
    if pixels is None and (max(image.size) > _LONGEST or image.width * image.height > _MOST):
        raise ImageTooLarge(
            f"{name} is {image.width} x {image.height} pixels; {kind} at most {_LONGEST} a side "
            f"and {_MOST} in all are read",
            field=name,
        )
    return cast("npt.NDArray[Any] | None", pixels)
