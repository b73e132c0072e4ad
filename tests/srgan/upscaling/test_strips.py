from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ranksrgan.metrics import imresize
from ranksrgan.srgan.upscaling.strips import regrouped, resized


def cut(image: Tensor, heights: list[int]) -> Iterator[Tensor]:
    top = 0
    while top < image.shape[1]:
        for height in heights:
            if top < image.shape[1]:
                yield image[:, top : top + height]
            top += height


HEIGHTS = st.lists(st.integers(1, 90), min_size=1, max_size=4)


@given(st.integers(1, 300), st.integers(1, 40), HEIGHTS)
def test_regrouping_moves_no_row(height: int, rows: int, heights: list[int]) -> None:
    image = torch.arange(3 * height * 2.0).reshape(3, height, 2)
    strips = list(regrouped(cut(image, heights), rows))
    assert [strip.shape[1] for strip in strips[:-1]] == [rows] * (len(strips) - 1)
    assert 0 < strips[-1].shape[1] <= rows
    assert torch.equal(torch.cat(strips, 1), image)


@pytest.mark.parametrize("ratio", ["4", "2", "1", "3/4", "1/2", "1/3", "5/8", "237/400", "7/5"])
@given(st.integers(1, 500), st.integers(1, 30), HEIGHTS)
def test_resizing_in_bands_is_resizing(
    ratio: str, height: int, width: int, heights: list[int]
) -> None:
    share = Fraction(ratio)
    generator = torch.Generator().manual_seed(height)
    image = torch.rand((2, height, width), generator=generator, dtype=torch.float64)
    out = torch.cat(list(resized(cut(image, heights), height, share)), 1)
    assert out.shape == (2, math.ceil(share * height), math.ceil(share * width))
    whole = imresize(image, float(share))[:, : out.shape[1], : out.shape[2]]
    assert (out - whole).abs().max() < 1e-9


def test_bands_are_not_kept() -> None:
    """A band leaves as soon as the rows below it that it depends on are there."""
    rows = 0

    def source() -> Iterator[Tensor]:
        nonlocal rows
        for _ in range(100):
            rows += 32
            yield torch.rand(1, 32, 8)

    out = 0
    for band in resized(source(), 3200, Fraction(1, 2)):
        out += band.shape[1]
        assert rows - 2 * out <= 32 + 64
    assert out == 1600
