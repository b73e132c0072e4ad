from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from ranksrgan.contracts import Scorer
from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics import Bicubic, Psnr, imresize_uint8, psnr
from ranksrgan.metrics.full_reference import CHANNELS
from ranksrgan.metrics.luma import luma


def bicubic_and_original(original: Tensor) -> tuple[Tensor, Tensor]:
    height, width = (side // 4 * 4 for side in original.shape[-2:])
    original = original[..., :height, :width].expand(-1, 3, -1, -1)
    small = imresize_uint8(original, scale=0.25)
    return Bicubic(4).upscale(small.float() / 255), original


@pytest.mark.parametrize(("folder", "expected"), [("set5", 28.43), ("set14", 26.09)])
def test_bicubic_x4(
    folder: str, expected: float, shared_data: Path, image_file: Callable[[Path], Tensor]
) -> None:
    scores = [
        float(psnr(*bicubic_and_original(image_file(path)), border=4))
        for path in sorted((shared_data / "images" / folder).glob("*.png"))
    ]
    assert sum(scores) / len(scores) == pytest.approx(expected, abs=0.01)


def test_against_scikit_image() -> None:
    a, b = torch.randint(0, 256, (2, 1, 3, 20, 30), dtype=torch.uint8)
    x, y = (luma(image, rounded=False)[0, 3:-3, 3:-3].numpy() for image in (a, b))
    expected = peak_signal_noise_ratio(x, y, data_range=255)
    assert float(psnr(a, b, border=3)) == pytest.approx(expected, rel=1e-12)


def test_of_one_channel_by_hand() -> None:
    a = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    b = a.clone()
    b[0] += 255
    b[1, 0, 0, 0] = 4  # mean squared error 1
    expected = [0, 20 * math.log10(255)]
    assert psnr(a, b).tolist() == pytest.approx(expected)


def test_official_values_are_of_all_channels(
    official: Callable[[str], list[tuple[Tensor, Tensor, float]]],
) -> None:
    """The values have two digits."""
    for image, reference, value in official("psnr"):
        assert float(psnr(image, reference, luma="rgb")) == pytest.approx(value, abs=5.1e-3)


def test_of_all_channels_against_scikit_image() -> None:
    a, b = torch.randint(0, 256, (2, 1, 3, 20, 30), dtype=torch.uint8)
    expected = peak_signal_noise_ratio(a[0, :, 3:-3, 3:-3].numpy(), b[0, :, 3:-3, 3:-3].numpy())
    assert float(psnr(a, b, border=3, luma="rgb")) == pytest.approx(expected, rel=1e-12)


def test_of_all_channels_by_hand() -> None:
    a = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    b = a.clone()
    b[:, 1] += 3  # mean squared error 3, not the mean of three decibels
    assert float(psnr(a, b, luma="rgb")) == pytest.approx(10 * math.log10(255**2 / 3))


def test_gray_is_rounded() -> None:
    a = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    b = a.clone()
    b[:, 2] += 4  # 0.456 grey levels: none after rounding
    assert math.isinf(psnr(a, b, luma="gray"))
    assert math.isfinite(psnr(a, b, luma="y"))


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(0, 2), st.sampled_from(["y", "gray", "rgb"]))
def test_it_is_symmetric(seed: int, border: int, convention: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, 1, 3, 8, 9, generator=generator)
    assert torch.equal(psnr(a, b, border, convention), psnr(b, a, border, convention))


def test_equal_images_are_infinitely_good() -> None:
    image = torch.rand(2, 3, 8, 8)
    for convention in CHANNELS:
        assert psnr(image, image, luma=convention).tolist() == [math.inf, math.inf]


def test_border_takes_all() -> None:
    with pytest.raises(ImageTooSmall):
        psnr(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), border=4)


def test_scorer() -> None:
    scorer = Psnr(border=4)
    assert isinstance(scorer, Scorer)
    assert scorer.info.name == "psnr?border=4"
    assert scorer.info.higher_is_better
    assert scorer.info.needs_reference
    assert scorer.info.min_side == 9
    a, b = torch.rand(2, 1, 3, 12, 12)
    assert torch.equal(scorer.score(a, b), psnr(a, b, 4))
    with pytest.raises(InvalidInput, match="needs references"):
        scorer.score(a)
