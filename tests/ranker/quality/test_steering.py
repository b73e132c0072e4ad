"""Quality models and metrics as what steers a generator, through the one loss adapter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics.image_gradient import image_gradient
from ranksrgan.ranker import VGG12, Ranker
from ranksrgan.ranker.quality.models import MODELS, make_model
from ranksrgan.ranker.quality.scorer import QualityScorer
from ranksrgan.srgan.losses import RankLoss, ScorerLoss

#: Every model, with a small backbone of random numbers where it has one.
SMALL: dict[str, dict[str, Any]] = {
    "iqma": {"backbone": "plain", "backbone_width": 4, "width": 4, "head_width": 4},
    "iqt": {
        "backbone": "plain",
        "backbone_width": 4,
        "crop": 48,
        "width": 8,
        "heads": 2,
        "hidden": 8,
        "head_width": 8,
    },
    "l2pips": {"backbone": "resnet18", "backbone_width": 4, "width": 4, "head_width": 8},
    "macs": {"form": "attention", "width": 8, "grid": 4},
    "pieapp": {"backbone": "alexnet_blur", "backbone_width": 4, "hidden": 8},
    "radn": {"width": 2},
    "sensitivity": {"width": 2},
    "wresnet": {"width": 2},
    "yahaha": {
        "backbone": "resnet18",
        "backbone_width": 4,
        "grid": 2,
        "width": 8,
        "layers": 1,
        "heads": 2,
    },
}


class Generator(nn.Module):
    """Twice as large; its images are inside of [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1)
        )

    def forward(self, lr: Tensor) -> Tensor:
        return torch.sigmoid(nn.functional.pixel_shuffle(self.body(lr), 2))


class Distance:
    """As LPIPS and a Ranker count: the mean squared error, up is worse."""

    info = ScorerInfo("distance", "1", False, True, True, 1)

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor | None]] = []

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        self.seen.append((images, references))
        assert references is not None
        return (images - references).square().mean(dim=(1, 2, 3)).double()

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return image_gradient(self.score, images, references)


class Similarity(Distance):
    """As opinions count: -MSE, up is better."""

    info = ScorerInfo("similarity", "1", True, True, True, 1)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        return -super().score(images, references)


def test_every_model_is_here() -> None:
    assert set(SMALL) == set(MODELS)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_quality_plug_in_one_step_of_the_generator_moves_sr_towards_better(
    name: str, batch: int
) -> None:
    """The gradient reaches the generator and not the model, is finite for a single image too, and
    a step against it improves the score in the model's own direction."""
    model = make_model(name, SMALL[name])
    quality = QualityScorer(model, device="cpu")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    generator, lr = Generator(), torch.rand(batch, 3, 36, 36)
    hr = torch.rand(batch, 3, 72, 72)
    loss = ScorerLoss(quality)(generator(lr), hr)
    loss.backward()
    gradients = [parameter.grad for parameter in generator.parameters()]
    length = torch.stack([gradient.norm() for gradient in gradients if gradient is not None]).norm()
    assert len([gradient for gradient in gradients if gradient is not None]) == 4
    assert float(length) > 0
    assert bool(length.isfinite())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(
        parameter.grad is None and not parameter.requires_grad for parameter in model.parameters()
    )
    with torch.no_grad():
        was = quality.score(generator(lr), hr).mean()
        for parameter, gradient in zip(generator.parameters(), gradients, strict=True):
            if gradient is not None:
                parameter -= 1e-3 * gradient / length
        now = quality.score(generator(lr), hr).mean()
    assert float(now) > float(was) if quality.info.higher_is_better else float(now) < float(was)
    assert quality.info.higher_is_better == (name != "pieapp")


@pytest.mark.parametrize("quality", [Similarity, Distance])
@pytest.mark.parametrize("batch", [1, 3])
def test_quality_plug_in_one_step_moves_sr_towards_hr_whatever_the_direction(
    quality: type[Distance], batch: int
) -> None:
    sr = (0.25 + 0.5 * torch.rand(batch, 3, 16, 16)).requires_grad_()
    hr = torch.rand(batch, 3, 16, 16)
    loss = ScorerLoss(quality())(sr, hr)
    assert bool(loss.isfinite())
    loss.backward()
    assert sr.grad is not None
    moved = sr.detach() - 0.1 * sr.grad
    assert float((moved - hr).square().mean()) < float((sr.detach() - hr).square().mean())


def test_quality_plug_in_receives_sr_and_hr_in_this_order() -> None:
    sr, hr = torch.rand(2, 2, 3, 8, 8).unbind()
    quality = Distance()
    ScorerLoss(quality)(sr.requires_grad_(), hr)
    ((images, references),) = quality.seen
    assert torch.equal(images, sr)
    assert images.requires_grad
    assert references is not None
    assert torch.equal(references, hr)
    assert not references.requires_grad


def test_a_rankers_score_up_is_worse_for_its_loss() -> None:
    ranker = Ranker(VGG12(4), higher_is_better=False, device="cpu")
    sr = torch.rand(1, 3, 64, 64, requires_grad=True)
    RankLoss([(ranker, 1.0)])(sr).backward()
    assert sr.grad is not None
    moved = (sr - 1e-3 * sr.grad / sr.grad.norm()).detach()
    assert float(ranker.score(moved)) < float(ranker.score(sr.detach()))
