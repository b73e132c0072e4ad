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


def test_gray_is_rounded() -> None:
    a = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    b = a.clone()
    b[:, 2] += 4  # 0.456 grey levels: none after rounding
    assert math.isinf(psnr(a, b, luma="gray"))
    assert math.isfinite(psnr(a, b, luma="y"))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(0, 2), st.sampled_from(["y", "gray"]))
def test_it_is_symmetric(seed: int, border: int, convention: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, 1, 3, 8, 9, generator=generator)
    assert torch.equal(psnr(a, b, border, convention), psnr(b, a, border, convention))


def test_equal_images_are_infinitely_good() -> None:
    image = torch.rand(2, 3, 8, 8)
    assert psnr(image, image).tolist() == [math.inf, math.inf]


def test_batch_and_single_calls_agree_to_the_bit() -> None:
    a, b = torch.rand(2, 4, 3, 33, 21)
    alone = torch.cat([psnr(x[None], y[None]) for x, y in zip(a, b, strict=True)])
    assert torch.equal(psnr(a, b), alone)


def test_sizes_must_match() -> None:
    image = torch.rand(1, 3, 8, 8)
    for other in (torch.rand(1, 3, 8, 9), torch.rand(2, 3, 8, 8), torch.rand(1, 1, 8, 8)):
        with pytest.raises(InvalidInput, match="same size") as caught:
            psnr(image, other)
        assert caught.value.field == "references"


def test_a_bad_reference_is_called_one() -> None:
    with pytest.raises(InvalidInput) as caught:
        psnr(torch.rand(1, 3, 8, 8), torch.full((1, 3, 8, 8), 2.0))
    assert caught.value.field == "references"


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
