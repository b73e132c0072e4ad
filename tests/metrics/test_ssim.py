from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from ranksrgan.contracts import Scorer
from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics import Ssim, ssim
from ranksrgan.metrics.luma import luma


@pytest.mark.parametrize("name", ["I03", "I04", "I06"])
def test_official_values(
    name: str, shared_data: Path, image_file: Callable[[Path], Tensor]
) -> None:
    """Made with MATLAB's rgb2gray on uint8; the values have four digits."""
    folder = shared_data / "testvec" / "iqa"
    with (folder / "expected.csv").open() as file:
        expected = next(row for row in csv.DictReader(file) if row["metric"] == "ssim")
    image = image_file(folder / "dist" / f"{name}.bmp")
    reference = image_file(folder / "ref" / f"{name}.bmp")
    score = float(ssim(image, reference, luma="gray"))
    assert score == pytest.approx(float(expected[name]), abs=5.1e-5)


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


def test_of_constant_images_by_hand() -> None:
    a = torch.full((1, 1, 11, 12), 100, dtype=torch.uint8)
    b = torch.full((1, 1, 11, 12), 150, dtype=torch.uint8)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert float(ssim(a, b)) == pytest.approx(expected, rel=1e-9)


def test_equal_images_and_symmetry() -> None:
    a, b = torch.rand(2, 2, 3, 20, 20)
    assert ssim(a, a).tolist() == [1, 1]
    assert torch.equal(ssim(a, b), ssim(b, a))


def test_the_number_of_threads_does_not_matter() -> None:
    a, b = torch.rand(2, 1, 3, 300, 300)
    threads = torch.get_num_threads()
    try:
        scores = []
        for number in (1, 2):
            torch.set_num_threads(number)
            scores.append(ssim(a, b))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*scores)


def test_batch_and_single_calls_agree_to_the_bit() -> None:
    a, b = torch.rand(2, 3, 3, 21, 33)
    alone = torch.cat([ssim(x[None], y[None]) for x, y in zip(a, b, strict=True)])
    assert torch.equal(ssim(a, b), alone)


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
