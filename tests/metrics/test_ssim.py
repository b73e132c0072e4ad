from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from ranksrgan.contracts import Scorer
from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics import Ssim, ssim
from ranksrgan.metrics.full_reference import CHANNELS
from ranksrgan.metrics.luma import luma


def test_official_values(official: Callable[[str], list[tuple[Tensor, Tensor, float]]]) -> None:
    """Made with MATLAB's rgb2gray on uint8; the values have four digits."""
    for image, reference, value in official("ssim"):
        assert float(ssim(image, reference, luma="gray")) == pytest.approx(value, abs=5.1e-5)


@pytest.mark.parametrize("convention", ["y", "gray"])
def test_against_scikit_image(convention: str, photograph: Callable[[str], Tensor]) -> None:
    reference = photograph("chelsea")[..., :60, :83]
    noise = torch.randn(reference.shape) * 20
    image = (reference + noise).clamp(0, 255).byte()
    rounded = convention == "gray"
    x, y = (luma(batch, convention, rounded)[0, 2:-2, 2:-2].numpy() for batch in (image, reference))
    _, similarity = structural_similarity(
        x,
        y,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        truncate=5 / 1.5,  # 11 x 11
        use_sample_covariance=False,
        full=True,
    )
    expected = similarity[5:-5, 5:-5].mean()
    score = float(ssim(image, reference, border=2, luma=convention))
    assert score == pytest.approx(expected, abs=1e-12)


def test_of_all_channels_against_scikit_image(photograph: Callable[[str], Tensor]) -> None:
    reference = photograph("chelsea")[..., :60, :83]
    image = (reference + torch.randn(reference.shape) * 20).clamp(0, 255).byte()
    _, similarity = structural_similarity(
        *(batch[0].double().numpy() for batch in (image, reference)),
        channel_axis=0,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        truncate=5 / 1.5,
        use_sample_covariance=False,
        full=True,
    )
    expected = similarity[:, 5:-5, 5:-5].mean()
    assert float(ssim(image, reference, luma="rgb")) == pytest.approx(expected, abs=1e-12)


def test_of_constant_images_by_hand() -> None:
    a = torch.full((1, 1, 11, 12), 100, dtype=torch.uint8)
    b = torch.full((1, 1, 11, 12), 150, dtype=torch.uint8)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert float(ssim(a, b)) == pytest.approx(expected, rel=1e-9)


def test_equal_images_are_one_exactly() -> None:
    image = torch.rand(2, 3, 20, 20)
    for convention in CHANNELS:
        assert ssim(image, image, luma=convention).tolist() == [1, 1]


def test_smaller_than_the_window() -> None:
    image = torch.rand(1, 3, 18, 30)
    with pytest.raises(ImageTooSmall, match="11 x 11"):
        ssim(image, image, border=4)
    with pytest.raises(InvalidInput):
        ssim(image, image[..., 1:])


def test_scorer() -> None:
    scorer = Ssim(luma="gray")
    assert isinstance(scorer, Scorer)
    assert scorer.info.name == "ssim?luma=gray"
    assert scorer.info.higher_is_better
    assert scorer.info.min_side == 11
    a, b = torch.rand(2, 1, 3, 12, 12)
    assert torch.equal(scorer.score(a, b), ssim(a, b, 0, "gray"))
