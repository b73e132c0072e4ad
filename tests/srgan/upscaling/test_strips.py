from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ranksrgan.contracts import UpscalerInfo
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics import imresize
from ranksrgan.srgan.upscaling.strips import checked_strips, regrouped, resized


def cut(image: Tensor, heights: list[int]) -> Iterator[Tensor]:
    top = 0
    while top < image.shape[1]:
        for height in heights:
            if top < image.shape[1]:
                yield image[:, top : top + height]
            top += height


class Own:
    """An upscaler of images of 6 x 5 pixels, with strips that are given."""

    info = UpscalerInfo("own", "1", 2, "toy")

    def upscale(self, images: Tensor) -> Tensor:
        return images.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_strips_of_an_upscaler_are_passed_on() -> None:
    large = torch.rand(1, 3, 12, 10)
    strips = list(checked_strips(large.split([5, 1, 6], 2), Own(), 6, 5))
    assert [strip.shape[1] for strip in strips] == [5, 1, 6]
    assert torch.equal(torch.cat(strips, 1), large[0])


@pytest.mark.parametrize(
    ("last", "problem"),
    [
        (torch.full((1, 3, 6, 10), 255.0), "values from 255 to 255"),
        (torch.zeros(1, 3, 6, 10, dtype=torch.uint8), r"pixels of type torch\.uint8"),
        (torch.zeros(1, 3, 6, 5), r"the shape \(1, 3, 6, 5\).*\(1, 3, 6, 10\) of floating"),
        (torch.zeros(3, 6, 10), r"the shape \(3, 6, 10\)"),
        (torch.zeros(1, 3, 5, 10), "11 rows in strips; 12, 2 times 6, are wanted"),
        (torch.zeros(1, 3, 7, 10), "13 rows in strips; 12, 2 times 6, are wanted"),
    ],
)
def test_strips_that_are_no_picture_are_refused(last: Tensor, problem: str) -> None:
    with pytest.raises(InvalidInput, match=f"own returned {problem}"):
        list(checked_strips([torch.zeros(1, 3, 6, 10), last], Own(), 6, 5))


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
