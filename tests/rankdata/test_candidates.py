from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ranksrgan.metrics import patch_crops
from ranksrgan.metrics.reference import sharpness
from ranksrgan.rankdata.candidates import Box, Crops, boxes_of, cut, sharpness_of
from ranksrgan.rankdata.config import PUBLISHED, BuildConfig


def _config(**settings: object) -> BuildConfig:
    required = {"hr": "in", "output": "out", "levels": {"a": "hr", "b": "bicubic"}}
    return BuildConfig.model_validate(required | settings)


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    size=st.integers(1, 40),
    stride=st.integers(1, 40),
    last=st.booleans(),
)
def test_boxes_are_the_offsets_that_fit(
    height: int, width: int, size: int, stride: int, last: bool
) -> None:
    config = _config(crop=size, stride=stride, last_offset=last)
    expected = [
        (top, left, size, size)
        for top in range(0, 100, stride)
        for left in range(0, 100, stride)
        if (top + size <= height if last else top + size < height)
        and (left + size <= width if last else left + size < width)
    ]
    assert boxes_of(height, width, config) == expected


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [
        (1356, 2040, 8, 12),  # DIV2K: 1060 / 148 = 7.2, 1744 / 148 = 11.8
        (296, 2040, 0, 12),  # the last valid offset does not count
        (297, 445, 1, 2),  # 149 > 148
        (444, 444, 1, 1),  # 148 is not < 148
    ],
)
def test_published_grid(height: int, width: int, rows: int, columns: int) -> None:
    # Closed form: offsets 0, 148, ... strictly below the side less 296.
    boxes = boxes_of(height, width, _config(**PUBLISHED | {"min_gap": 0}))
    assert len(boxes) == rows * columns
    assert all(box.top % 148 == 0 and box.top < height - 296 for box in boxes)


def test_whole_image_is_one_crop() -> None:
    assert boxes_of(33, 57, _config(crop="whole")) == [Box(0, 0, 33, 57)]


@pytest.mark.parametrize("crop", [24, "whole"])
def test_sharpness_is_that_of_each_crop_alone(crop: object) -> None:
    image = torch.randint(0, 256, (1, 3, 48, 61), dtype=torch.uint8)
    config = _config(crop=crop, stride=12)
    boxes = boxes_of(48, 61, config)
    values = sharpness_of(image, boxes[::-1], config)
    for box, value in zip(boxes[::-1], values, strict=True):
        alone = image[..., box.top : box.top + box.height, box.left : box.left + box.width]
        assert value == pytest.approx(sharpness(alone[None]).item(), abs=1e-9)


@pytest.mark.parametrize("last", [True, False])
def test_sharpness_is_that_of_all_crops_at_once_to_the_bit(last: bool) -> None:
    image = torch.randint(0, 256, (1, 3, 48, 61), dtype=torch.uint8)
    config = _config(crop=24, stride=6, last_offset=last)
    boxes = boxes_of(48, 61, config)
    grid = patch_crops(image, 24, 6)
    at_once = dict(zip(map(tuple, grid.boxes.tolist()), grid.sharpness[0].tolist(), strict=True))
    assert len(boxes) % 16
    assert sharpness_of(image, boxes, config) == [at_once[box.top, box.left] for box in boxes]


def test_cut_takes_what_lies_in_the_boxes() -> None:
    image = torch.arange(3 * 5 * 6).reshape(1, 3, 5, 6)
    crops = cut(image, [Box(0, 1, 2, 3), Box(3, 3, 2, 3)])
    assert torch.equal(crops[0], image[0, :, 0:2, 1:4])
    assert torch.equal(crops[1], image[0, :, 3:5, 3:6])


def test_published_texture_filter_is_its_sum_over_blocks(hr: Path) -> None:
    # The published rule: the local deviation, padded with zeros to 4 x 4 blocks of 96 x 96, block
    # means added up, 40 or more. Ours: the mean over the crop, 4.207 or more.
    deviation = torch.rand(296, 296, dtype=torch.float64) * 10
    padded = torch.nn.functional.pad(deviation, (0, 88, 0, 88))
    blocks = padded.unfold(0, 96, 96).unfold(1, 96, 96).mean((2, 3))
    threshold = PUBLISHED["min_sharpness"]
    assert blocks.shape == (4, 4)
    assert blocks.sum().item() / 40 == pytest.approx(deviation.mean().item() / threshold, rel=1e-12)


def test_crops_that_do_not_pass_are_counted_once() -> None:
    boxes = [Box(0, left, 2, 2) for left in range(6)]
    crops = Crops(boxes)
    crops.keep_if(lambda box: box.left != 1, "odd")
    crops.drop({boxes[0]: "first", boxes[5]: "last"})
    crops.keep_if(lambda _: True, "never")
    assert crops.kept == [boxes[2], boxes[3], boxes[4]]
    assert +crops.dropped == {"odd": 1, "first": 1, "last": 1}


def test_cap_is_a_seeded_choice_that_keeps_the_order() -> None:
    boxes = [Box(top, left, 2, 2) for top in range(10) for left in range(10)]

    def kept(count: int | None, seed: int, source: str) -> list[Box]:
        crops = Crops(boxes)
        crops.cap(count, seed, source)
        assert len(crops.kept) + crops.dropped["above_max_crops"] == len(boxes)
        return crops.kept

    chosen = kept(30, 0, "a")
    assert len(chosen) == 30
    assert chosen == sorted(chosen) == kept(30, 0, "a")
    assert chosen != kept(30, 1, "a")
    assert chosen != kept(30, 0, "b")
    assert kept(None, 0, "a") == kept(100, 0, "a") == boxes
    # Every box has the same chance: of 200 sources, 60 +- 5 standard deviations of 6.5.
    hits = sum(boxes[37] in kept(30, 0, str(source)) for source in range(200))
    assert 28 <= hits <= 92
