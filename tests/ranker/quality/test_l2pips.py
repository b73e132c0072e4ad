from __future__ import annotations

from pathlib import Path

import torch

from ranksrgan.ranker.quality.l2pips import DeepSimilarity, L2Pips, pair_channels
from tests.ranker.quality.distorted import agreement, distorted, teach

SMALL = {"backbone": "plain", "backbone_width": 8, "width": 8, "head_width": 32}


def test_l2pips_builds_scores_and_learns_the_fixture() -> None:
    torch.manual_seed(0)
    model = L2Pips(**SMALL)
    teach(model, distorted(48, 1), steps=120, rate=3e-3)
    assert agreement(model, distorted(4, 2)) > 0.6


def test_channel_shuffle_pairs_by_index() -> None:
    first = torch.arange(3.0).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    paired = pair_channels(first, first + 10)
    assert paired[0, :, 0, 0].tolist() == [0, 10, 1, 11, 2, 12]


def test_comparison_of_a_channel_sees_that_channel_alone() -> None:
    torch.manual_seed(0)
    similarity = DeepSimilarity(4, 4)
    image, reference = torch.rand(2, 1, 4, 5, 5)
    before = similarity.compare(pair_channels(reference, image))
    image[:, 2] += 1
    changed = (similarity.compare(pair_channels(reference, image)) - before).abs().sum((0, 2, 3))
    assert (changed > 0).tolist() == [False, False, True, False]


def test_identical_maps_have_a_cosine_of_one() -> None:
    maps = torch.rand(2, 4, 5, 5)
    assert torch.allclose(DeepSimilarity(4, 3)(maps, maps)[:, -1], torch.ones(2))


def test_two_phases(tmp_path: Path) -> None:
    model = L2Pips(backbone="resnet18", backbone_width=4, width=4, head_width=8)
    torch.save(model.backbone.network.state_dict(), tmp_path / "published.pth")
    model.load_backbone(tmp_path / "published.pth")
    model.train()
    model.begin(0.49)
    assert dict(model.current_losses) == {"l1": 1.0}
    assert not any(value.requires_grad for value in model.backbone.parameters())
    assert all(value.requires_grad for value in model.similarities.parameters())
    model.train()
    model.begin(0.5)
    assert dict(model.current_losses) == {"regression": 1.0}
    assert all(value.requires_grad for value in model.parameters())
    assert model.backbone.network.bn1.training


def test_without_published_weights_both_phases_train_all() -> None:
    model = L2Pips(**SMALL)
    model.begin(0.1)
    assert all(value.requires_grad for value in model.parameters())
