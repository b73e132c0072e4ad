from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.upscaling.tiling import Box, around, plan, shape_of_tiles

sides = st.integers(1, 60)


@given(
    height=sides,
    width=sides,
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    overlap=st.integers(0, 12),
    inset=st.integers(0, 5),
)
def test_tiles_partition_the_area_and_carry_their_halo(
    height: int, width: int, rows: int, columns: int, overlap: int, inset: int
) -> None:
    image = Box(0, 0, height, width)
    area = Box(min(inset, height - 1), min(inset, width - 1), height, width)
    tiles = plan(area, image, rows, columns, overlap)
    covered = np.zeros((height, width), int)
    for read, keep in tiles:
        covered[keep.top : keep.bottom, keep.left : keep.right] += 1
        assert 0 < keep.height <= rows
        assert 0 < keep.width <= columns
        # The halo is whole, or ends exactly where the image does.
        assert read.top == max(keep.top - overlap, 0)
        assert read.left == max(keep.left - overlap, 0)
        assert read.bottom == min(keep.bottom + overlap, height)
        assert read.right == min(keep.right + overlap, width)
    assert (covered[area.top :, area.left :] == 1).all()
    assert covered.sum() == area.height * area.width
    for lengths in ({t.keep.height for t in tiles}, {t.keep.width for t in tiles}):
        assert max(lengths) - min(lengths) <= 1  # even
    assert len(tiles) == -(-area.height // rows) * -(-area.width // columns)


def test_plan_by_hand() -> None:
    image = Box(0, 0, 5, 3)
    tiles = plan(image, image, 4, 4, 1)
    assert [t.keep for t in tiles] == [Box(0, 0, 2, 3), Box(2, 0, 5, 3)]
    assert [t.read for t in tiles] == [Box(0, 0, 3, 3), Box(1, 0, 5, 3)]


@pytest.mark.parametrize(
    "bad", [(0, 3, 4, 4, 1), (3, 0, 4, 4, 1), (3, 3, 0, 1, 1), (3, 3, 4, 4, -1)]
)
def test_impossible_plans_are_refused(bad: tuple[int, int, int, int, int]) -> None:
    height, width, rows, columns, overlap = bad
    box = Box(0, 0, height, width)
    with pytest.raises(InvalidInput, match="cannot be cut"):
        plan(box, box, rows, columns, overlap)


def test_an_unlimited_reach_is_the_image() -> None:
    image = Box(0, 0, 9, 9)
    assert around(Box(4, 4, 5, 5), None, image) == image
    assert around(Box(4, 4, 5, 5), 2, image) == Box(2, 2, 7, 7)


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    pixels=st.integers(1, 2000),
    overlap=st.integers(0, 9),
)
def test_the_shape_of_tiles_keeps_to_its_pixels(
    height: int, width: int, pixels: int, overlap: int
) -> None:
    image = Box(0, 0, height, width)
    rows, columns = shape_of_tiles(image, image, pixels, overlap)
    if rows == 0:
        assert columns == 0
        assert pixels < min(2 * overlap + 1, height) * min(2 * overlap + 1, width)
        return
    for read, _ in plan(image, image, rows, columns, overlap):
        assert read.height * read.width <= pixels


def test_strips_of_a_narrow_image_and_squares_of_a_wide_one() -> None:
    narrow, wide = Box(0, 0, 1000, 20), Box(0, 0, 1000, 1000)
    assert shape_of_tiles(narrow, narrow, 2000, 2) == (96, 20)
    assert shape_of_tiles(wide, wide, 10_000, 2) == (96, 96)


def test_an_image_lower_than_its_halo_is_cut_into_columns() -> None:
    low = Box(0, 0, 20, 1000)
    assert shape_of_tiles(low, low, 20 * 61, 30) == (20, 1)
    assert shape_of_tiles(low, low, 20 * 61 - 1, 30) == (0, 0)
