from __future__ import annotations

import pytest
import torch

from ranksrgan.contracts import Upscaler, open_upscaler
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics import Bicubic, bicubic, imresize
from ranksrgan.metrics.bicubic import open_bicubic


def test_it_is_imresize_clamped() -> None:
    images = torch.rand(2, 3, 5, 6).round()  # black and white: the cubic overshoots
    larger = Bicubic().upscale(images)
    assert larger.shape == (2, 3, 20, 24)
    assert larger.dtype == torch.float32
    unclamped = imresize(images.double(), scale=4.0)
    assert unclamped.max() > 1
    assert unclamped.min() < 0
    assert torch.equal(larger, unclamped.clamp(0, 1).float())


def test_info_and_names() -> None:
    upscaler = open_upscaler("bicubic")
    assert isinstance(upscaler, Upscaler)
    assert (upscaler.info.name, upscaler.info.scale) == ("bicubic", 4)
    assert open_upscaler("bicubic?scale=4").info == upscaler.info
    double = open_upscaler("bicubic?scale=2")
    assert (double.info.name, double.info.scale) == ("bicubic?scale=2", 2)
    assert double.upscale(torch.rand(1, 3, 3, 3)).shape == (1, 3, 6, 6)


def test_batch_and_single_calls_agree_to_the_bit() -> None:
    images = torch.rand(3, 3, 7, 5)
    together = Bicubic(3).upscale(images)
    alone = torch.cat([Bicubic(3).upscale(image[None]) for image in images])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 9), (23, 17), (64, 8)])
@pytest.mark.parametrize("scale", [1, 3, 4])
@pytest.mark.parametrize("pixels", [1, 300, 2**20])
def test_strips_are_the_whole_to_the_bit(
    size: tuple[int, int], scale: int, pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.rand(1, 3, *size)
    wanted = imresize(image.double(), scale=float(scale)).clamp(0, 1).float()
    monkeypatch.setattr(bicubic, "_PIXELS", pixels)
    upscaler = Bicubic(scale)
    assert torch.equal(upscaler.upscale(image), wanted)
    read: list[tuple[int, int]] = []

    def rows(first: int, end: int) -> torch.Tensor:
        read.append((first, end))
        return image[..., first:end, :]

    seen, strips = [], []
    for strip in upscaler.upscale_strips(rows, *size):
        seen.append(read[-1][1])
        strips.append(strip)
    assert torch.equal(torch.cat(strips, -2), wanted)
    assert [first for first, _ in read] == [0, *(end for _, end in read[:-1])]
    assert read[-1][1] == size[0]
    assert upscaler.rows_needed(*size) == seen
    if pixels == 1:
        assert {strip.shape[-2] for strip in strips} == {scale}


@pytest.mark.parametrize("scale", ["0", "17", "2.5", "-4", "x", "", "٤", "9" * 5000])
def test_bad_scales(scale: str) -> None:
    with pytest.raises(InvalidInput):
        open_bicubic("bicubic", {"scale": scale})


def test_unknown_option() -> None:
    with pytest.raises(InvalidInput, match="border") as caught:
        open_bicubic("bicubic", {"border": "4"})
    assert caught.value.field == "border"


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 1, 4, 4),
        torch.zeros(3, 4, 4),
        torch.full((1, 3, 4, 4), 2.0),
    ],
)
def test_bad_images(images: torch.Tensor) -> None:
    with pytest.raises(InvalidInput):
        Bicubic().upscale(images)
