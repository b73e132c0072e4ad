"""Pixels as an image's orientation wants them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from ranksrgan.contracts.image_files.exif import ORIENTATION

_Kind = TypeVar("_Kind", bound=np.generic)

# What makes each value of the orientation upright.
_UPRIGHT: dict[int, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}


def upright(pixels: npt.NDArray[_Kind], image: PillowImage.Image) -> npt.NDArray[_Kind]:
    """Pixels as the image's orientation wants them; Pillow's own turning writes the EXIF block anew
    and fails where that is odd."""
    turn = _UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    return np.ascontiguousarray(pixels if turn is None else turn(pixels))
