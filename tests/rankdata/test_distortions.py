from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, JpegImagePlugin
from scipy import ndimage

from ranksrgan.contracts.images import encode_image, from_tensor
from ranksrgan.rankdata.degradation import Source, read_source
from ranksrgan.rankdata.distortions import Blurred, Compressed, Noisy

# Of the seed 0, the source "grey" and the level "n": the first pixels of each channel.
GOLDEN_NOISE = [[116, 160, 143, 105], [159, 120, 80, 122], [111, 170, 147, 174]]


@pytest.fixture
def source(hr: Path) -> Source:
    return read_source(hr / "coffee.png", 4)


def _pixels(image: torch.Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("width", [0.1, 0.5, 2.0, 4.0, 60.0])
def test_blur_is_a_gaussian_with_repeated_borders(source: Source, width: float) -> None:
    made = Blurred(None, width).make(source, {})
    expected = ndimage.gaussian_filter(
        _pixels(source.hr).astype(np.float64),
        (width, width, 0),
        mode="nearest",
        radius=(math.ceil(4 * width), math.ceil(4 * width), 0),
    )
    difference = _pixels(made).astype(np.float64) - expected
    assert made.dtype == torch.uint8
    assert np.abs(difference).max() <= 0.5 + 1e-9


def test_the_smallest_blur_of_the_paper_changes_nothing(source: Source) -> None:
    assert torch.equal(Blurred(None, 0.1).make(source, {}), source.hr)


def test_noise_has_the_wanted_deviation_and_none_across_channels() -> None:
    grey = torch.full((1, 3, 400, 400), 128, dtype=torch.uint8)
    source = Source("grey", grey, torch.zeros(1, 3, 100, 100), (400, 400))
    made = Noisy("n", None, 15.0, seed=0).make(source, {})
    noise = made[0].double().flatten(1) - 128
    assert noise.mean().item() == pytest.approx(0, abs=0.1)
    # Rounding adds a variance of 1/12.
    assert noise.std().item() == pytest.approx(math.sqrt(15**2 + 1 / 12), rel=0.01)
    assert torch.corrcoef(noise).triu(1).abs().max() < 0.02


def test_noise_depends_on_seed_source_and_level_alone(source: Source) -> None:
    made = Noisy("n", None, 15.0, seed=1).make(source, {})
    assert torch.equal(made, Noisy("n", None, 15.0, seed=1).make(source, {}))
    for other in (
        Noisy("n", None, 15.0, seed=2).make(source, {}),
        Noisy("m", None, 15.0, seed=1).make(source, {}),
        Noisy("n", None, 15.0, seed=1).make(source._replace(name="tea"), {}),
    ):
        assert not torch.equal(made, other)


def test_noise_is_the_same_for_ever() -> None:
    # A golden value: another generator would silently change published datasets.
    grey = torch.full((1, 3, 8, 8), 128, dtype=torch.uint8)
    source = Source("grey", grey, torch.zeros(1, 3, 2, 2), (8, 8))
    made = Noisy("n", None, 30.0, seed=0).make(source, {})
    assert made[0, :, 0, :4].tolist() == GOLDEN_NOISE


def test_noise_is_cut_off_not_wrapped() -> None:
    black = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    source = Source("black", black, torch.zeros(1, 3, 16, 16), (64, 64))
    made = Noisy("n", None, 30.0, seed=0).make(source, {})
    assert (made == 0).double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert made.max() < 200


@pytest.mark.parametrize("quality", [1, 30, 100])
def test_jpeg_is_that_of_the_quality_with_half_chroma(source: Source, quality: int) -> None:
    made = Compressed(None, quality).make(source, {})
    data = encode_image(from_tensor(source.hr[0]), suffix=".jpg", quality=quality)
    with Image.open(io.BytesIO(data)) as image:
        assert JpegImagePlugin.get_sampling(image) == 2  # 4:2:0
        # The luma table of the standard at quality 50 begins with 16.
        scale = 5000 / quality if quality < 50 else 200 - 2 * quality
        assert image.quantization[0][0] == min(max((16 * scale + 50) // 100, 1), 255)
        assert np.array_equal(np.asarray(image.convert("RGB")), _pixels(made))


def test_stronger_is_farther_from_the_original(source: Source) -> None:
    def error(image: torch.Tensor) -> float:
        return (image.double() - source.hr.double()).square().mean().item()

    for levels in (
        [Blurred(None, width) for width in (0.5, 1, 2, 4)],
        [Noisy("n", None, sigma, 0) for sigma in (1, 15, 30)],
        [Compressed(None, quality) for quality in (95, 50, 20, 5)],
    ):
        errors = [error(level.make(source, {})) for level in levels]
        assert errors == sorted(errors)
        assert errors[0] < errors[-1] / 2


def test_another_level_can_be_distorted(source: Source) -> None:
    others = {"flipped": source.hr.flip(-1)}
    for of_level, of_hr in (
        (Blurred("flipped", 2.0), Blurred(None, 2.0)),
        (Compressed("flipped", 20), None),
        (Noisy("n", "flipped", 5.0, 0), None),
    ):
        made = of_level.make(source, others)
        assert of_level.facts["of"] == "flipped"
        assert (made.double() - others["flipped"].double()).abs().mean() < 20
        assert (made.double() - source.hr.double()).abs().mean() > 20
        if of_hr is not None:
            assert torch.equal(made, of_hr.make(source, {}).flip(-1))
