from __future__ import annotations

import torch

from ranksrgan.ranker.quality.iqma import FeaturePyramid, Iqma
from tests.ranker.quality.distorted import agreement, distorted, teach

SMALL = {"backbone": "plain", "backbone_width": 8, "width": 16, "head_width": 16}


def test_iqma_builds_scores_and_learns_the_fixture() -> None:
    torch.manual_seed(0)
    model = Iqma(**SMALL)
    teach(model, distorted(48, 1), steps=200, rate=3e-3)
    assert agreement(model, distorted(4, 2)) > 0.6


def test_published_backbone_gives_the_pyramid_four_scales() -> None:
    with torch.device("meta"):
        model = Iqma()
    assert model.backbone.name == "resnet50"
    assert len(model.scales) == 4
    # 1x1 laterals of 256, 512, 1024 and 2048 channels, and four 3x3 convolutions.
    pyramid = sum(value.numel() for value in model.pyramid.parameters())
    assert pyramid == (256 + 512 + 1024 + 2048) * 256 + 4 * 256 + 4 * (9 * 256 * 256 + 256)


def test_pyramid_tells_the_finer_maps() -> None:
    torch.manual_seed(0)
    pyramid = FeaturePyramid((2, 3), 4)
    fine, coarse = torch.rand(1, 2, 8, 8), torch.rand(1, 3, 4, 4)
    found = pyramid([fine, coarse])
    assert [tuple(part.shape) for part in found] == [(1, 4, 8, 8), (1, 4, 4, 4)]
    other = pyramid([fine, coarse + 1])
    assert not torch.allclose(found[0], other[0])
    assert torch.equal(pyramid([fine + 1, coarse])[1], found[1])


def test_score_is_between_those_of_the_scales() -> None:
    torch.manual_seed(0)
    model = Iqma(**SMALL).eval()
    images, references = torch.rand(2, 2, 3, 40, 56)
    mixed = model(images, references)
    singles = []
    for scale in range(4):
        model.balance.data = torch.full((4,), -1e4)
        model.balance.data[scale] = 0
        singles.append(model(images, references))
    assert torch.allclose(mixed, torch.stack(singles).mean(0), atol=1e-6)
