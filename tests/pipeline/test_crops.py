from __future__ import annotations

import numpy as np

from ranksrgan.contracts.images import Picture
from ranksrgan.pipeline.crops import crop_picture, sharpest_box


def test_the_sharpest_square_is_where_the_texture_is() -> None:
    image = Picture(np.full((40, 50, 3), 128, dtype=np.uint8))
    image.colour[20:30, 31:41] = np.random.default_rng(0).integers(0, 256, (10, 10, 3))
    top, left = sharpest_box(image, 12)
    assert 18 <= top <= 20
    assert 29 <= left <= 31
    assert crop_picture(image, (top, left), 12).colour.shape == (12, 12, 3)


def test_a_square_may_be_as_large_as_the_image_and_lie_at_its_end() -> None:
    image = Picture(np.zeros((20, 30, 3), dtype=np.uint8))
    image.colour[:, 28:] = np.random.default_rng(0).integers(0, 256, (20, 2, 3))
    assert sharpest_box(image, 20) == (0, 10)
