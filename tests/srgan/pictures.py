"""Small pictures with structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ranksrgan.contracts.images import Picture, write_image


def write_waves(folder: Path, count: int, *, first: int = 0) -> None:
    """Write sums of waves with some noise, none of a size that 4 divides, as PNG files.

    Args:
        folder: made if need be.
        count: of pictures.
        first: number of the first one; equal numbers are equal pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + count):
        random = np.random.default_rng(index)
        rows, columns = np.mgrid[0 : 101 + index, 0 : 110 - index]
        planes = []
        for _ in range(3):
            a, b, phase = random.uniform(0.05, 0.6), random.uniform(0.05, 0.6), random.uniform(0, 6)
            planes.append(127 + 90 * np.sin(a * rows + b * columns + phase))
        noise = random.normal(0, 8, (*rows.shape, 3))
        colour = (np.stack(planes, -1) + noise).clip(0, 255).astype(np.uint8)
        write_image(folder / f"{index}.png", Picture(colour))
