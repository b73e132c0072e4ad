from __future__ import annotations

import pytest
import torch

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.ranker.quality.iqt import Iqt
from tests.ranker.quality.distorted import agreement, distorted, teach

SMALL = {
    "backbone": "plain",
    "backbone_width": 8,
    "crop": 64,
    "width": 32,
    "heads": 2,
    "hidden": 64,
    "head_width": 32,
    "dropout": 0.0,
}


@pytest.mark.parametrize(
    ("options", "tokens", "parameters"),
    [
        ({}, 441, 1_940_992),
        ({"crop": 256, "layers": 2, "width": 256, "head_width": 512}, 841, 9_965_568),
    ],
)
def test_iqt_token_and_parameter_counts(
    options: dict[str, int], tokens: int, parameters: int
) -> None:
    with torch.device("meta"):
        transformer = Iqt(**options).transformer
    assert transformer.tokens == tokens
    assert sum(value.numel() for value in transformer.parameters()) == parameters


def test_iqt_identical_images_are_constant_in_the_encoder_alone() -> None:
    torch.manual_seed(0)
    transformer = Iqt(**SMALL).eval().transformer
    maps = torch.rand(2, transformer.decoder_input.project.in_channels, 4, 4)
    first, second = transformer.compare(maps, maps)
    assert torch.equal(first, second)
    one, other = transformer(maps, maps).tolist()
    assert abs(one - other) > 1e-6


@pytest.mark.slow  # the other models learn it in the same way
def test_iqt_learns_the_fixture() -> None:
    torch.manual_seed(0)
    model = Iqt(**SMALL)
    teach(model, distorted(48, 1), steps=220, rate=1e-3, batch=16, crop=64)
    assert agreement(model, distorted(4, 2)) > 0.7


def test_score_is_the_mean_over_overlapping_crops() -> None:
    torch.manual_seed(0)
    model = Iqt(**SMALL).eval()
    image, reference = torch.rand(2, 1, 3, 96, 64)
    crops = [
        model(image[..., top : top + 64, :], reference[..., top : top + 64, :]) for top in (0, 32)
    ]
    assert torch.allclose(model(image, reference), torch.stack(crops).mean(0))


def test_learn_takes_one_crop_of_each() -> None:
    torch.manual_seed(0)
    model = Iqt(**SMALL).eval()
    images, references = torch.rand(2, 3, 3, 64, 64)
    learnt = model.learn(images, references, torch.zeros(3, dtype=torch.int64))
    assert torch.allclose(learnt.scores, model(images, references), atol=1e-6)
    assert learnt.cost is None


def test_too_small() -> None:
    model = Iqt(**SMALL)
    with pytest.raises(ImageTooSmall, match="iqt needs 64 x 64"):
        model(torch.rand(1, 3, 63, 80), torch.rand(1, 3, 63, 80))
    with pytest.raises(InvalidInput, match="crop of 8 pixels"):
        Iqt(**{**SMALL, "crop": 8})
    with pytest.raises(InvalidInput, match="heads is 0"):
        Iqt(**{**SMALL, "heads": 0})
