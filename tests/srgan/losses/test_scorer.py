"""Scorers as losses: LPIPS against its formula, directions, and images without a value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from ranksrgan.contracts import open_scorer
from ranksrgan.contracts.assets import get_asset
from ranksrgan.contracts.errors import InvalidConfig, UndefinedScore
from ranksrgan.contracts.scorer import DifferentiableScorer, ScorerInfo
from ranksrgan.srgan.losses import ScorerLoss


class MeanScorer:
    """An image's mean pixel, or that of its difference from the reference."""

    def __init__(self, higher_is_better: bool = False, needs_reference: bool = False) -> None:
        self.info = ScorerInfo("mean", "1", higher_is_better, needs_reference, True, 1)
        self.asked = 0

    def score(self, images: torch.Tensor, references: torch.Tensor | None = None) -> torch.Tensor:
        assert (references is not None) == self.info.needs_reference
        assert images.dtype == torch.float32
        assert images.min() >= 0
        assert images.max() <= 1
        self.asked += 1
        if references is not None:
            images = images - references
        return images.double().mean((1, 2, 3))

    def gradient(
        self, images: torch.Tensor, references: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.score(images, references), torch.full_like(images, 1 / images[0].numel())


class NothingOnBlack(MeanScorer):
    def score(self, images: torch.Tensor, references: torch.Tensor | None = None) -> torch.Tensor:
        scores = super().score(images, references)
        if bool((images.amax((1, 2, 3)) == 0).any()):
            raise UndefinedScore("a black image has no score")
        return scores


@pytest.mark.parametrize("higher_is_better", [False, True])
@pytest.mark.parametrize("needs_reference", [False, True])
def test_the_mean_score_in_the_direction_that_improves(
    higher_is_better: bool, needs_reference: bool
) -> None:
    sr, hr = torch.rand(3, 3, 4, 5, requires_grad=True), torch.rand(3, 3, 4, 5)
    sign = -1 if higher_is_better else 1
    with torch.autocast("cpu", torch.bfloat16):
        loss = ScorerLoss(MeanScorer(higher_is_better, needs_reference))(sr, hr)
    expected = (sr - hr if needs_reference else sr).mean().item()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(sign * expected, rel=1e-5)
    loss.backward()
    assert sr.grad is not None
    torch.testing.assert_close(sr.grad, torch.full_like(sr, sign / sr.numel()))


def test_it_sees_the_shown_image_and_pixels_outside_get_no_gradient() -> None:
    sr = torch.tensor([-0.5, 0.5, 1.5]).view(3, 1, 1, 1).expand(3, 3, 2, 2).clone()
    sr.requires_grad_()
    loss = ScorerLoss(MeanScorer())(sr, sr.detach())
    assert loss.item() == pytest.approx(0.5)
    loss.backward()
    assert sr.grad is not None
    assert [bool(gradient.any()) for gradient in sr.grad] == [False, True, False]


def test_an_image_without_a_value_costs_nothing_and_the_others_are_asked_once_more() -> None:
    scorer = NothingOnBlack()
    sr = torch.rand(3, 3, 4, 4)
    sr[1] = 0
    sr.requires_grad_()
    loss = ScorerLoss(scorer)(sr, sr.detach())
    assert scorer.asked == 4
    assert loss.item() == pytest.approx((sr[0].mean() + sr[2].mean()).item() / 3, rel=1e-6)
    loss.backward()
    assert sr.grad is not None
    assert [bool(gradient.any()) for gradient in sr.grad] == [True, False, True]
    black = torch.zeros(2, 3, 4, 4, requires_grad=True)
    nothing = ScorerLoss(scorer)(black, black.detach())
    nothing.backward()
    assert nothing.item() == 0


def test_a_scorer_without_a_gradient_is_refused() -> None:
    scorer = MeanScorer()
    scorer.info = replace(scorer.info, differentiable=False)
    with pytest.raises(InvalidConfig, match="mean cannot be a loss: it has no gradient"):
        ScorerLoss(scorer)


def lpips_by_hand(folder: Path, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """LPIPS with AlexNet from its definition, in float64."""
    net = torch.load(folder / get_asset("alexnet").file, weights_only=True)
    linear = torch.load(folder / get_asset("lpips-alex").file, weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).view(1, 3, 1, 1)

    def features(images: torch.Tensor) -> list[torch.Tensor]:
        x = (2 * images.double() - 1 - shift) / scale
        found = []
        for index, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
            if index in (3, 6):
                x = F.max_pool2d(x, 3, 2)
            kernel, bias = (net[f"features.{index}.{part}"].double() for part in ("weight", "bias"))
            x = F.conv2d(x, kernel, bias, stride, padding).relu()
            found.append(F.normalize(x, dim=1, eps=1e-10))
        return found

    total = torch.zeros(len(sr), dtype=torch.float64)
    for tap, (x, y) in enumerate(zip(features(sr), features(hr), strict=True)):
        weights = linear[f"lin{tap}.model.1.weight"].double()
        total = total + ((x - y).square() * weights).sum(1).mean((1, 2))
    return total


def test_lpips_as_a_loss(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(random_weights))
    scorer = open_scorer("lpips")
    assert isinstance(scorer, DifferentiableScorer)
    loss = ScorerLoss(scorer)
    sr, hr = torch.rand(2, 3, 40, 44, requires_grad=True), torch.rand(2, 3, 40, 44)
    expected = lpips_by_hand(random_weights, sr, hr).mean()
    assert loss(sr, hr).item() == pytest.approx(expected.item(), rel=1e-4)
    (wanted,) = torch.autograd.grad(expected, sr)
    (found,) = torch.autograd.grad(loss(sr, hr), sr)
    assert F.cosine_similarity(found.flatten(), wanted.flatten(), dim=0) > 0.999
    assert loss(hr.clone(), hr).item() == 0


def test_niqe_as_a_loss_falls_along_its_gradient() -> None:
    scorer = open_scorer("niqe?gradient=true")
    assert isinstance(scorer, DifferentiableScorer)
    loss = ScorerLoss(scorer)
    rows, columns = torch.meshgrid(torch.arange(192.0), torch.arange(192.0), indexing="ij")
    waves = 0.5 + 0.2 * torch.sin(rows / 3) * torch.cos(columns / 5)
    images = (waves + 0.05 * torch.randn(1, 3, 192, 192)).clamp(0.02, 0.98).requires_grad_()
    before = loss(images, images.detach())
    (gradient,) = torch.autograd.grad(before, images)
    step = images.detach() - 1e-3 * gradient / gradient.abs().max()
    assert loss(step, step).item() < before.item()
