"""Photographs to measure with that any machine has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data

from ranksrgan.contracts.images import Picture, write_image


def write_photographs(folder: Path) -> None:
    """Four photographs, mirrored to the size of an image of DIV2K."""
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        pixels = getattr(skimage.data, name)()
        height, width = pixels.shape[:2]
        large = np.pad(pixels, ((0, 1356 - height), (0, 2040 - width), (0, 0)), mode="symmetric")
        write_image(folder / f"{name}.png", Picture(large))
