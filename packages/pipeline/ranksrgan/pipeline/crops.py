"""Where to look: a square of a photograph that shows what its methods differ in."""

from __future__ import annotations

import numpy as np

from ranksrgan.contracts.image_files.picture import Picture


def sharpest_box(image: Picture, side: int) -> tuple[int, int]:
    """Top and left of the ``side`` x ``side`` square with the largest local contrast.

    Args:
        image: at least that large in both directions.
        side: in pixels, at least 2.
    """
    grey = image.colour.astype(np.float64).mean(axis=2)
    slopes = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    sums = np.pad(slopes, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    reach = side - 1  # differences of neighbours within the square
    windows = (
        sums[reach:, reach:]
        - sums[:-reach, reach:]
        - sums[reach:, :-reach]
        + sums[:-reach, :-reach]
    )
    top, left = np.unravel_index(int(windows.argmax()), windows.shape)
    return int(top), int(left)


def crop_picture(picture: Picture, box: tuple[int, int], side: int) -> Picture:
    """The square of that side whose top left corner is ``box``."""
    top, left = box
    return Picture(picture.colour[top : top + side, left : left + side])
