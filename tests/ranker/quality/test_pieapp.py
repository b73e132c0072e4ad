from __future__ import annotations

import pytest
import torch

from ranksrgan.contracts.errors import ImageTooSmall
from ranksrgan.ranker.quality.pieapp import Pieapp
from ranksrgan.ranker.quality.windows import covering_windows
from tests.ranker.quality.distorted import agreement, distorted, teach

SMALL = {"backbone": "alexnet_blur", "backbone_width": 8, "hidden": 32, "patches": 1}


def test_pieapp_builds_scores_and_learns_the_fixture() -> None:
    """Lower is better: `agreement` turns the sign of its error."""
    torch.manual_seed(0)
    model = Pieapp(**SMALL)
    assert not model.higher_is_better
    teach(model, distorted(48, 1), steps=200, rate=1e-3, crop=72)
    assert agreement(model, distorted(4, 2)) > 0.6


def test_patches_make_the_maps_that_the_heads_expect() -> None:
    with torch.device("meta"):
        model = Pieapp()
    assert model.backbone.shapes(64) == [
        (64, 15, 15),
        (192, 7, 7),
        (384, 3, 3),
        (256, 3, 3),
        (256, 3, 3),
    ]
    assert model.score_head[0].in_features == 64 * 225 + 192 * 49 + 896 * 9


def test_error_is_the_weighted_mean_over_patches() -> None:
    torch.manual_seed(0)
    model = Pieapp(**{**SMALL, "stride": 8}).eval()
    image, reference = torch.rand(2, 1, 3, 72, 64)
    patches = [
        torch.stack([part[..., top : top + 64, :] for top in (0, 8)], 1)
        for part in (image, reference)
    ]
    errors, weights = model.judge(*patches)
    assert bool((weights > 0).all())
    wanted = (errors * weights).sum(1) / weights.sum(1)
    assert torch.allclose(model(image, reference), wanted, atol=1e-6)


def test_identical_images_have_the_least_difference() -> None:
    torch.manual_seed(0)
    model = Pieapp(**SMALL).eval()
    first, second = torch.rand(2, 1, 3, 64, 64)
    assert torch.equal(model(first, first), model(second, second))


def test_too_small() -> None:
    with pytest.raises(ImageTooSmall, match="pieapp needs 64 x 64"):
        Pieapp(**SMALL)(torch.rand(1, 3, 64, 63), torch.rand(1, 3, 64, 63))


def test_windows_cover_an_image() -> None:
    windows = covering_windows(100, 64, 64, 27)
    assert windows == [(0, 0), (18, 0), (36, 0)]
    assert covering_windows(64, 64, 64, 27) == [(0, 0)]
    assert covering_windows(150, 150, 64, 43)[-1] == (86, 86)
